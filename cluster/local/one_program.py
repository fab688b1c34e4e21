"""A server that is one program: started in a folder of its own, waited for, and ended."""

import time
from collections.abc import Mapping, Sequence
from pathlib import Path

import background

_START_LIMIT_S = 60.0
_STOP_GRACE_S = 10.0


def start(
    name: str,
    command: Sequence[str],
    *,
    root: Path,
    port: int,
    env: Mapping[str, str],
    tied: bool = False,
) -> str:
    """Start it, and wait until it serves `port` of loopback.

    Args:
        name: For people.
        command: Absolute path of the program, and its arguments.
        root: Folder of this server alone, which exists; gets its log.
        port: On which `command` lets it serve.
        env: Its whole environment.
        tied: Whether it ends with the calling process, however that ends.

    Returns:
        Its URL.

    Raises:
        LocalServiceError: If it does not come up; the end of its log is quoted.
    """
    server = background.spawn(command, log=root / "log", env=env, tied=tied)
    background.save_processes(root / "processes.json", {name: server})
    deadline = time.monotonic() + _START_LIMIT_S
    while not background.serves(server, port):
        alive = background.is_alive(server)
        if not alive or time.monotonic() > deadline:
            stop(root)
            raise background.not_started(
                name, alive=alive, limit_s=_START_LIMIT_S, log=root / "log"
            )
        time.sleep(0.1)
    return f"http://127.0.0.1:{port}"


def stop(root: Path) -> None:
    """End the server of folder `root`; no error if it does not run."""
    background.end_saved(root.resolve() / "processes.json", grace_s=_STOP_GRACE_S)
