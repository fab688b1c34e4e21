"""What a claim on a place says: which program holds it, and whether its process still lives.

A claim carries a checksum, as networks and proxies damage bytes, and a claim that was misread must
never look like that of a dead program.
"""

import hashlib
import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retdm.data.verified import read_verified
from retdm.errors import ConfigError, NotFoundError, ShardError, StorageError
from retdm.storage import Store

_FIELDS = {"token", "holds", "beat", "host", "pid", "since", "machine", "started"}


@dataclass(frozen=True, slots=True)
class Work:
    """What a place is claimed for, and how errors speak of it."""

    folder: str
    """Of the place, where the claims on it lie: "_build/"."""
    noun: str
    """Who does it: "build"."""
    verb: str
    """What it does there: "write"."""
    option: str
    """What the user gave the place by, if the URL does not say it: "--out"."""
    elsewhere: str
    """How to do it in another place: "choose another place"."""
    lockless: str
    """What to do where the file system has no locks."""

    def at(self, store: Store) -> str:
        """The place, as an error opens."""
        return f"{self.option} {store.url}".strip()

    @property
    def announced(self) -> str:
        """Begins the names of announcements."""
        return f"{self.folder}claim-"


@dataclass(frozen=True, slots=True)
class Claim:
    """The right to write to a place; may be sent to other processes and machines."""

    store: Store
    work: Work
    name: str
    """File that holds the claim."""
    token: str

    def check(self) -> None:
        """Make sure that the claim still stands.

        Raises:
            StorageError: If it does not, or cannot be read.
        """
        noun = self.work.noun
        try:
            stands = read_claim(self.store, self.name)["token"] == self.token
        except NotFoundError:
            stands = False
        except ShardError as error:
            raise StorageError(
                f"{error}, so whether this {noun} still holds the place is unknown; run it again"
            ) from None
        if not stands:
            raise StorageError(
                f"{self.store.url}/{self.name} is not this {noun}'s any more: another {noun} took "
                f"the place over, or {socket.gethostname()} does not see the same folder as the "
                f"machine where the {noun} was started; see that one {noun} runs, on a place that "
                "all its machines see, and run it again"
            )


def sealed(claim: dict[str, Any]) -> bytes:
    """What is written for a claim."""
    return json.dumps({**claim, "sha256": _digest(claim)}).encode()


def unsealed(content: bytes, url: str) -> dict[str, Any]:
    """The claim that was written.

    Raises:
        ShardError: If the bytes are not those that `sealed` gave; names `url`.
    """
    try:
        claim = json.loads(content)
        sound = claim.pop("sha256") == _digest(claim) and claim.keys() >= _FIELDS
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        sound = False
    if not sound:
        raise ShardError(f"{url}: a claim whose bytes disagree with its checksum")
    return dict(claim)


def read_claim(store: Store, name: str) -> dict[str, Any]:
    """The claim in a file, read again where wrong bytes arrive.

    Raises:
        ShardError: If the bytes stay wrong.
        StorageError: If the file cannot be read; `NotFoundError` if there is none.
    """
    return read_verified(store, name, lambda content: unsealed(content, f"{store.url}/{name}"))


def _digest(claim: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(claim, sort_keys=True).encode()).hexdigest()


def refusal(store: Store, work: Work, other: str) -> ConfigError:
    """The error for the second program; `other` names the first."""
    return ConfigError(
        f"{work.at(store)}: another {work.noun} {work.verb}s there ({other}); wait until it has "
        f"ended, end it, or {work.elsewhere}"
    )


def name_of(other: dict[str, Any]) -> str:
    """A program as an error names it."""
    return f"process {other['pid']} on {other['host']}, since {other['since']}"


def who() -> dict[str, Any]:
    """What tells this process from all others, and whether it still lives."""
    # Process numbers mean something only within one boot and one container.
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return {
        "host": socket.gethostname(),
        "pid": os.getpid(),
        "since": time.strftime("%Y-%m-%d %H:%M:%S %z"),
        "machine": f"{boot} {os.readlink('/proc/self/ns/pid')}",
        "started": started(os.getpid()),
    }


def started(pid: int) -> str | None:
    """When a process of this machine began; None if it has ended."""
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    except OSError:
        return None
    return None if fields[0] in "ZX" else fields[19]
