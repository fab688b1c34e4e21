"""Announces a build on a storage without locks, and heeds the announcements of others.

S3 has no locks, and its conditional writes are not atomic on every server. A build writes an
object `_build/claim-TOKEN` and then lists all claims: if a living one of another build is there,
it withdraws. Of two that start at once each sees the other, or one comes first: one wins or both
refuse. A build renews its claim every 10 seconds; one that stays the same for 30, or whose process
on this machine is gone, is dead and is removed.

What remains: a server that lists a new object late can let two builds in (both look again
before the manifest is published, and then neither publishes); and a build that stood still, or
did not reach the storage, for more than 30 seconds can be taken for dead by a build of another
machine, and when it wakes finish the upload on which it was (it looks before and after each tar,
but an upload under way cannot be called back). `verify` shows either.
"""

import contextlib
import json
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retdm.errors import NotFoundError, StorageError
from retdm.shard.claimant import Claim, name_of, refusal, started, who
from retdm.shard.unfinished import FOLDER
from retdm.storage import Store
from retdm.storage.file import FileStore

ANNOUNCED = f"{FOLDER}claim-"
"""Begins the names of announcements."""
_HEARTBEAT_S = 10.0
_DEAD_AFTER = 3
_log = logging.getLogger(__name__)


@contextmanager
def announce(store: Store, mine: dict[str, Any]) -> Iterator[Claim]:
    """Hold the claim `mine` on `store`, until the block ends.

    Raises:
        ConfigError: If another build holds one.
        StorageError: If the place cannot be read or written.
    """
    held = Claim(store, f"{ANNOUNCED}{mine['token']}", mine["token"])
    _refuse_if_claimed(store, held)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(held, mine, ended), daemon=True)
    try:
        store.write(held.name, json.dumps(mine | {"holds": False}).encode())
        _refuse_if_claimed(store, held)
        store.write(held.name, json.dumps(mine).encode())
        heart.start()
        yield held
    finally:
        ended.set()
        if heart.ident:
            heart.join()
        try:
            store.delete(held.name)
        except StorageError as error:  # what went wrong before matters more
            _log.warning("%s; the claim on the place was not removed", error)


def _beat(held: Claim, mine: dict[str, Any], ended: threading.Event) -> None:
    """Renew the claim, unless another build removed it."""
    for beat in range(1, 1 << 62):
        if ended.wait(_HEARTBEAT_S):
            return
        try:
            if held.store.size(held.name) is None:
                return
            held.store.write(held.name, json.dumps(mine | {"beat": beat}).encode())
        except StorageError as error:
            _log.warning("%s; the claim on the place was not renewed", error)


def _refuse_if_claimed(store: Store, mine: Claim) -> None:
    """Remove the claims of dead builds."""
    for name in store.names(ANNOUNCED):
        if name == mine.name:
            continue
        try:
            content = store.read(name)
        except NotFoundError:  # withdrawn
            continue
        if not _is_dead(store, name, content):
            raise refusal(store, content)
        store.delete(name)


def _is_dead(store: Store, name: str, content: bytes) -> bool:
    try:
        other = json.loads(content)
        name_of(other)
    except (ValueError, KeyError, TypeError):
        return True  # no build writes such a claim
    here = who()
    if other["machine"] == here["machine"]:
        return bool(started(other["pid"]) != other["started"])
    _log.info(
        "%s: looking for %.0f s whether the build of %s still runs",
        *(store.url, _DEAD_AFTER * _HEARTBEAT_S, other["host"]),
    )
    deadline = time.monotonic() + _DEAD_AFTER * _HEARTBEAT_S
    while time.monotonic() < deadline:
        time.sleep(_HEARTBEAT_S / 5)
        try:
            if store.read(name) != content:
                return False
        except NotFoundError:
            return True
    return True


def rivals(mine: Claim) -> list[str]:
    """Who else believes to hold the place: nobody, unless the storage lists objects late."""
    store = mine.store
    if isinstance(store, FileStore):
        return []
    found = []
    for name in store.names(ANNOUNCED):
        with contextlib.suppress(NotFoundError):
            other = {} if name == mine.name else json.loads(store.read(name))
            if other.get("holds"):
                found.append(name_of(other))
    return found
