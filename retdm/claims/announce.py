"""Announces a program on a storage without locks, and heeds the announcements of others.

S3 has no locks, and its conditional writes are not atomic on every server. A program writes an
object `FOLDER/claim-TOKEN` and then lists all claims: if a living one of another is there, it
withdraws. Of two that start at once each sees the other, or one comes first: one wins or both
refuse. A program renews its claim every 10 seconds; one that stays the same for 30, or whose
process on this machine is gone, is dead and is removed. One that cannot be read may be a living
program's: it stays, and the newcomer is refused.

What remains: a server that lists a new object late can let two in (`rivals` tells, when it is
asked later); and one that stood still, or did not reach the storage, for more than 30 seconds can
be taken for dead by a program of another machine, and when it wakes finish the upload on which it
was (`Claim.check` tells before and after, but an upload under way cannot be called back).
"""

import contextlib
import logging
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from retdm.claims.claimant import (
    Claim,
    Work,
    name_of,
    read_claim,
    refusal,
    sealed,
    started,
    who,
)
from retdm.errors import (
    ConfigError,
    NotFoundError,
    ShardError,
    StorageError,
    TransientStorageError,
)
from retdm.storage import Store
from retdm.storage.file import FileStore

_HEARTBEAT_S = 10.0
_DEAD_AFTER = 3
_LAST_S = 2.0
"""How long a program that failed waits for its claim to go: where the storage is lost, it cannot.
Then it stays like that of a killed one."""
_log = logging.getLogger(__name__)


@contextmanager
def announce(store: Store, work: Work, mine: dict[str, Any]) -> Iterator[Claim]:
    """Hold the claim `mine` on `store`, until the block ends.

    Raises:
        ConfigError: If another program holds one, or there is one that cannot be read.
        StorageError: If the place cannot be read or written.
    """
    held = Claim(store, work, f"{work.announced}{mine['token']}", mine["token"])
    _refuse_if_claimed(held)
    ended = threading.Event()
    heart = threading.Thread(target=_beat, args=(held, mine, ended), daemon=True)
    last = threading.Thread(target=_withdraw, args=(held, heart), daemon=True)
    most_s: float | None = _LAST_S
    try:
        store.write(held.name, sealed(mine | {"holds": False}))
        _refuse_if_claimed(held)
        store.write(held.name, sealed(mine))
        heart.start()
        yield held
        most_s = None
    finally:
        ended.set()
        last.start()
        last.join(most_s)


def _beat(held: Claim, mine: dict[str, Any], ended: threading.Event) -> None:
    """Renew the claim, unless another program removed it."""
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


def _refuse_if_claimed(mine: Claim) -> None:
    """Remove the claims of dead programs."""
    store, work = mine.store, mine.work
    for name in store.names(work.announced):
        if name == mine.name:
            continue
        try:
            other = read_claim(store, name)
            dead = _is_dead(mine, name, other)
        except NotFoundError:  # withdrawn
            continue
        except ShardError as error:
            raise ConfigError(
                f"{work.at(store)}: another {work.noun} may {work.verb} there ({error}); if no "
                f"{work.noun} runs, delete {store.url}/{name}"
            ) from None
        if not dead:
            raise refusal(store, work, name_of(other))
        store.delete(name)


def _is_dead(mine: Claim, name: str, other: dict[str, Any]) -> bool:
    store, here = mine.store, who()
    if other["machine"] == here["machine"]:
        return bool(started(other["pid"]) != other["started"])
    _log.info(
        "%s: looking for %.0f s whether the %s of %s still runs",
        *(store.url, _DEAD_AFTER * _HEARTBEAT_S, mine.work.noun, other["host"]),
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
    for name in store.names(mine.work.announced):
        if name == mine.name:
            continue
        with contextlib.suppress(NotFoundError):
            try:
                other = read_claim(store, name)
            except ShardError as error:
                found.append(f"{error}: if no other {mine.work.noun} runs, delete it")
                continue
            if other["holds"]:
                found.append(name_of(other))
    return found
