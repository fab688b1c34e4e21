"""How processes that load or pack start, what they take over from their parent, and when they end.

They are started by a fork server, never forked from the parent: forking a process with threads
(Ray actors, NCCL) can deadlock.
"""

import multiprocessing
import os
import threading
from multiprocessing.connection import wait
from multiprocessing.context import ForkServerContext

_PREFIXES = ("AWS_", "RETDM_S3_")


def forkserver(*modules: str) -> ForkServerContext:
    """The start method; the fork server imports `modules` once, for all processes."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["__main__", *modules])
    return context


def storage_settings() -> dict[str, str]:
    """The environment variables that decide how storage is reached."""
    return {name: value for name, value in os.environ.items() if name.startswith(_PREFIXES)}


def begin(settings: dict[str, str], _worker: int = 0) -> None:
    """What such a process does first.

    It takes over `storage_settings` of its parent, since the fork server has those of its own
    start, and ends with its parent, however that ends: torch looks at the fork server only, which
    waits for its children.
    """
    for name in storage_settings():
        del os.environ[name]
    os.environ.update(settings)
    threading.Thread(target=_end_with_parent, daemon=True).start()


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    assert parent is not None
    wait([parent.sentinel])
    os._exit(1)
