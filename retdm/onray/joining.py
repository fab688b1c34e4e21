"""Joins the Ray cluster that a program is to run on, or says why that cannot be."""

import os
import re
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import ray
import ray.exceptions

from retdm.console import Stopped, at_end
from retdm.errors import ConfigError
from retdm.onray.heeding import end_without_shutdown

_ANSWER_S = 5.0
_MISMATCH = re.compile(r"^Version mismatch:" + r"[^:]*:\s+Ray: (\S+)\s+Python: (\S+)" * 2)


def join(**options: Any) -> bool:
    """Connect to the cluster that RAY_ADDRESS names or runs here, or else start a Ray here.

    Args:
        options: Of `ray.init`.

    Returns:
        Whether that was done now; False if this process was connected already.

    Raises:
        ConfigError: If no cluster answers there, or not to this program.
    """
    if ray.is_initialized():
        return False
    connect(os.environ.get("RAY_ADDRESS"), said="RAY_ADDRESS", log_to_driver=True, **options)
    return True


@contextmanager
def joined(**options: Any) -> Iterator[None]:
    """Ray for the block, as `join` joins it."""
    address = os.environ.get("RAY_ADDRESS")
    with connected(address, said="RAY_ADDRESS", log_to_driver=True, **options):
        yield


@contextmanager
def connected(address: str | None, *, said: str, **options: Any) -> Iterator[None]:
    """Ray for the block, as `connect` connects; if this process is connected already, that.

    Raises:
        ConfigError: If no cluster answers, or not to this program.
    """
    if ray.is_initialized():
        yield
        return
    connect(address, said=said, **options)
    try:
        yield
    finally:
        if isinstance(sys.exception(), Stopped):
            at_end(end_without_shutdown)
        else:
            ray.shutdown()


def connect(address: str | None, *, said: str, **options: Any) -> None:
    """Connect this process to a cluster.

    Args:
        address: HOST:PORT, "auto", "local", or None to start one if there is none here.
        said: What names the address: a variable or an option.
        options: Of `ray.init`.

    Raises:
        ConfigError: If no cluster answers there, it runs another version of Ray or Python, or it
            wants a token that this program has not.
    """
    where = f"{said} {address}" if address else "the Ray of this machine"
    try:
        host, colon, port = (address or "").rpartition(":")
        if colon and port.isdecimal() and "/" not in host:
            # Ray itself tries for minutes, and prints a line every second.
            socket.create_connection((host, int(port)), _ANSWER_S).close()
        ray.init(address=address, **options)
    except (OSError, RuntimeError, ValueError, ray.exceptions.RayError) as error:
        if versions := _MISMATCH.search(str(error)):
            ray_there, python_there, ray_here, python_here = versions.groups()
            raise ConfigError(
                f"{where}: the cluster runs Ray {ray_there} and Python {python_there}, this "
                f"program Ray {ray_here} and Python {python_here}; both need the same"
            ) from error
        raise ConfigError(
            f"{where}: no Ray cluster answers there ({str(error).splitlines()[0]}); start one "
            "with `ray start --head`, or give the address of one that runs; if it wants a token, "
            "set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or ~/.ray/auth_token to that"
        ) from error
