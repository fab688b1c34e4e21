"""Reads a file that can be checked, again if what arrived is wrong.

A network damages what it carries differently each time, so the same wrong bytes twice are what is
stored.
"""

import hashlib
import logging
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from retdm.errors import ShardError
from retdm.storage import Store

T = TypeVar("T")
ATTEMPTS = 4
"""How often anything is read whose bytes are wrong; networks and proxies do damage them."""
_log = logging.getLogger(__name__)


def read_verified(store: Store, name: str, check: Callable[[bytes], T]) -> T:
    """What `check` makes of a file's content, which is read again where `check` refuses it.

    Args:
        store: Where the file is.
        name: Of the file.
        check: Raises `ShardError` if the bytes are not those that were written.

    Raises:
        ShardError: That of `check` if it refuses what was read four times, or if the same bytes
            came twice: then they are what is stored.
        StorageError: If the file cannot be read; `NotFoundError` if there is none.
    """
    before = None
    for attempt in range(ATTEMPTS):
        content = store.read(name)
        try:
            return check(content)
        except ShardError as error:
            if content == before or attempt == ATTEMPTS - 1:
                raise
            _log.info("reading again: %s", error)
            before = content
    raise AssertionError("unreachable")


def download_verified(store: Store, name: str, to: Path, *, sha256: str) -> list[str]:
    """Fetch a file, again while its digest is wrong.

    Args:
        store: Where the file is.
        name: Of the file.
        to: Local file; holds what arrived last.
        sha256: What the digest should be, hex.

    Returns:
        The digests of what arrived, the last one being `sha256` unless the stored bytes are wrong.

    Raises:
        StorageError: If the file cannot be read.
    """
    found: list[str] = []
    while len(found) < ATTEMPTS and len(found) == len(set(found)):
        store.download(name, to)
        with to.open("rb") as file:
            found.append(hashlib.file_digest(file, "sha256").hexdigest())
        if found[-1] == sha256:
            break
        _log.info("%s/%s arrived damaged (sha256 %s)", store.url, name, found[-1])
    return found
