"""How loader processes start, and what they take over from the training process.

They are started by a fork server, never forked from the training process: forking a process with
threads (Ray actors, NCCL) can deadlock.
"""

import multiprocessing
import os
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


def adopt(settings: dict[str, str], _worker: int = 0) -> None:
    """Take over `storage_settings` of another process: the fork server has those of its start."""
    for name in storage_settings():
        del os.environ[name]
    os.environ.update(settings)
