"""Who may build at a place: one build at a time.

In a folder it is a lock on `_build/lock`, which the system lets go when the process ends, however
it ends. It holds across the machines of a shared file system, if that has locks.

S3 has no locks, and its conditional writes are not atomic on every server. A build writes an
object `_build/claim-TOKEN` and then lists all claims: if a living one of another build is there,
it withdraws. Of two that start at once each sees the other, or one comes first: one wins or both
refuse. A build renews its claim every 10 seconds; one that stays the same for 30, or whose process
on this machine is gone, is dead and is removed.

What remains on S3: a server that lists a new object late can let two builds in (both look again
before the manifest is published, and then neither publishes); and a build that stood still for
more than 30 seconds can be taken for dead, and finish the upload on which it was when it wakes
(it looks before and after each tar, but an upload under way cannot be called back).
"""

import contextlib
import fcntl
import json
import logging
import os
import re
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retdm.errors import ConfigError, NotFoundError, StorageError
from retdm.shard.unfinished import FOLDER
from retdm.storage import Store
from retdm.storage.file import FileStore

LOCK = f"{FOLDER}lock"
_CLAIM = f"{FOLDER}claim-"
_HEARTBEAT_S = 10.0
_DEAD_AFTER = 3
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write to a place; may be sent to other processes and machines."""

    store: Store
    name: str
    """File that holds the claim."""
    token: str

    def check(self) -> None:
        """Make sure that the claim still stands.

        Raises:
            StorageError: If it does not.
        """
        try:
            stands = json.loads(self.store.read(self.name))["token"] == self.token
        except (NotFoundError, ValueError, KeyError):
            stands = False
        if not stands:
            raise StorageError(
                f"{self.store.url}/{self.name} is not this build's any more: another build took "
                f"the place over, or {socket.gethostname()} does not see the same folder as the "
                "machine where the build was started; see that one build runs, on a place that "
                "all its machines see, and run it again"
            )


def is_claim(name: str) -> bool:
    """Whether a file of the destination is a lock or a claim."""
    return name == LOCK or re.fullmatch(f"{_CLAIM}[0-9a-f]{{32}}", name) is not None


@contextmanager
def claim(store: Store) -> Iterator[Claim]:
    """Hold the right to write to `store`, until the block ends.

    Raises:
        ConfigError: If another build holds it.
        StorageError: If the place cannot be written, or, when the block ends, is not this
            build's any more.
    """
    mine = {"token": uuid.uuid4().hex, "holds": True, "beat": 0, **_who()}
    way = _lock(store, mine) if isinstance(store, FileStore) else _announce(store, mine)
    with way as held:
        yield held


@contextmanager
def _lock(store: FileStore, mine: dict[str, Any]) -> Iterator[Claim]:
    path = store.path(LOCK)
    descriptor = _locked(store, path)
    try:
        os.truncate(descriptor, 0)
        os.pwrite(descriptor, json.dumps(mine).encode(), 0)
        yield Claim(store, LOCK, mine["token"])
    finally:
        path.unlink(missing_ok=True)  # while it is still locked: see `_locked`
        os.close(descriptor)
        with contextlib.suppress(OSError):  # not empty: records are kept
            path.parent.rmdir()


def _locked(store: FileStore, path: Path) -> int:
    """An open, locked descriptor of the file that is now at `path`."""
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT, 0o644)
        except FileNotFoundError:  # the folder was removed in between by the end of another build
            continue
        except OSError as error:
            raise StorageError(
                f"{path}: {error.strerror}; check permissions and free space"
            ) from error
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if _is_at(descriptor, path):
                return descriptor
        except BlockingIOError:
            content = os.pread(descriptor, 1 << 16, 0)
            os.close(descriptor)
            raise _refusal(store, content) from None
        except OSError as error:
            os.close(descriptor)
            raise StorageError(
                f"{path}: the file system has no locks ({error.strerror}), so two builds could "
                "mix there; build in another folder and copy the shard set"
            ) from error
        os.close(descriptor)  # another build ended and removed the file before we locked it


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), os.stat(path))
    except FileNotFoundError:
        return False


@contextmanager
def _announce(store: Store, mine: dict[str, Any]) -> Iterator[Claim]:
    held = Claim(store, f"{_CLAIM}{mine['token']}", mine["token"])
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
    for name in store.names(_CLAIM):
        if name == mine.name:
            continue
        try:
            content = store.read(name)
        except NotFoundError:  # withdrawn
            continue
        if not _is_dead(store, name, content):
            raise _refusal(store, content)
        store.delete(name)


def _is_dead(store: Store, name: str, content: bytes) -> bool:
    try:
        other = json.loads(content)
        _name(other)
    except (ValueError, KeyError, TypeError):
        return True  # no build writes such a claim
    here = _who()
    if other["machine"] == here["machine"]:
        return bool(_started(other["pid"]) != other["started"])
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
    for name in store.names(_CLAIM):
        with contextlib.suppress(NotFoundError):
            other = {} if name == mine.name else json.loads(store.read(name))
            if other.get("holds"):
                found.append(_name(other))
    return found


def _refusal(store: Store, content: bytes) -> ConfigError:
    try:
        other = _name(json.loads(content))
    except (ValueError, KeyError, TypeError):  # it is just writing the file
        other = "another process"
    return ConfigError(
        f"--out {store.url}: another build writes there ({other}); wait until it has ended, end "
        "it, or choose another place"
    )


def _name(other: dict[str, Any]) -> str:
    return f"process {other['pid']} on {other['host']}, since {other['since']}"


def _who() -> dict[str, Any]:
    """What tells this process from all others, and whether it still lives."""
    # Process numbers mean something only within one boot and one container.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": f"{boot} {os.readlink('/proc/self/ns/pid')}",
        "started": _started(os.getpid()),
    }


def _started(pid: int) -> str | None:
    """When a process of this machine began; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
