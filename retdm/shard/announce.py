"""Announces a build on a storage without locks, and heeds the announcements of others.

S3 has no locks, and its conditional writes are not atomic on every server. A build writes an
object `_build/claim-TOKEN` and then lists all claims: if a living one of another build is there,
it withdraws. Of two that start at once each sees the other, or one comes first: one wins or both
refuse. A build renews its claim every 10 seconds; one that stays the same for 30, or whose process
on this machine is gone, is dead and is removed. One that cannot be read may be a living build's:
it stays, and the build is refused.

What remains: a server that lists a new object late can let two builds in (both look again
before the manifest is published, and then neither publishes); and a build that stood still, or
did not reach the storage, for more than 30 seconds can be taken for dead by a build of another
machine, and when it wakes finish the upload on which it was (it looks before and after each tar,
but an upload under way cannot be called back). `verify` shows either.
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retdm.errors import (
    ConfigError,
    NotFoundError,
    ShardError,
    StorageError,
    TransientStorageError,
)
from retdm.shard.claimant import Claim, name_of, read_claim, refusal, sealed, started, who
from retdm.shard.unfinished import FOLDER
from retdm.storage import Store
from retdm.storage.file import FileStore

ANNOUNCED = f"{FOLDER}claim-"
"""Begins the names of announcements."""
_HEARTBEAT_S = 10.0
_DEAD_AFTER = 3
_LAST_S = 2.0
"""How long a build that failed waits for its claim to go: where the storage is lost, it cannot.
Then it stays like that of a killed build."""
_log = logging.getLogger(__name__)


@contextmanager
def announce(store: Store, mine: dict[str, Any]) -> Iterator[Claim]:
    """Hold the claim `mine` on `store`, until the block ends.

    Raises:
        ConfigError: If another build holds one, or there is one that cannot be read.
        StorageError: If the place cannot be read or written.
    """
    held = Claim(store, f"{ANNOUNCED}{mine['token']}", mine["token"])
    _refuse_if_claimed(store, held)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(held, mine, ended), daemon=True)
    last = threading.Thread(target=_withdraw, args=(held, heart), daemon=True)
    most_s: float | None = _LAST_S
    try:
        store.write(held.name, sealed(mine | {"holds": False}))
        _refuse_if_claimed(store, held)
        store.write(held.name, sealed(mine))
        heart.start()
        yield held
        most_s = None
    finally:
        ended.set()
        last.start()
        last.join(most_s)


def _beat(held: Claim, mine: dict[str, Any], ended: threading.Event) -> None:
    """Renew the claim, unless another build removed it."""
    for beat in range(1, 1 << 62):
        if ended.wait(_HEARTBEAT_S):
            return
        try:
            if held.store.size(held.name) is None:
                return
            held.store.write(held.name, sealed(mine | {"beat": beat}))
        except TransientStorageError as error:  # the work itself meets the same, and reports it
            _log.debug("%s; the claim on the place was not renewed", error)
        except StorageError as error:
            _log.warning("%s; the claim on the place was not renewed", error)


def _withdraw(held: Claim, heart: threading.Thread) -> None:
    """Remove the claim, once it is not renewed any more."""
    if heart.ident:
        heart.join()
    try:
        held.store.delete(held.name)
    except StorageError as error:  # what went wrong before matters more
        _log.warning("%s; the claim on the place was not removed", error)


def _refuse_if_claimed(store: Store, mine: Claim) -> None:
    """Remove the claims of dead builds."""
    for name in store.names(ANNOUNCED):
        if name == mine.name:
            continue
        try:
            other = read_claim(store, name)
            dead = _is_dead(store, name, other)
        except NotFoundError:  # withdrawn
            continue
        except ShardError as error:
            raise ConfigError(
                f"--out {store.url}: another build may write there ({error}); if no build runs, "
                f"delete {store.url}/{name}"
            ) from None
        if not dead:
            raise refusal(store, name_of(other))
        store.delete(name)


def _is_dead(store: Store, name: str, other: dict[str, Any]) -> bool:
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
        if read_claim(store, name) != other:
            return False
    return True


def rivals(mine: Claim) -> list[str]:
    """Who else believes to hold the place: nobody, unless the storage lists objects late."""
    store = mine.store
    if isinstance(store, FileStore):
        return []
    found = []
    for name in store.names(ANNOUNCED):
        if name == mine.name:
            continue
        with contextlib.suppress(NotFoundError):
            try:
                other = read_claim(store, name)
            except ShardError as error:
                found.append(f"{error}: if no other build runs, delete it")
                continue
            if other["holds"]:
                found.append(name_of(other))
    return found
