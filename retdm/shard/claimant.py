"""What a claim on a place says: which build holds it, and whether its process still lives.

A claim carries a checksum, as networks and proxies damage bytes, and a claim that was misread must
never look like that of a dead build.
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
class Claim:
    """The right to write to a place; may be sent to other processes and machines."""

    store: Store
    name: str
    """File that holds the claim."""
    token: str

    def check(self) -> None:
        """Make sure that the claim still stands.

        Raises:
            StorageError: If it does not, or cannot be read.
        """
        try:
            stands = read_claim(self.store, self.name)["token"] == self.token
        except NotFoundError:
            stands = False
        except ShardError as error:
            raise StorageError(
                f"{error}, so whether this build still holds the place is unknown; run it again"
            ) from None
        if not stands:
            raise StorageError(
                f"{self.store.url}/{self.name} is not this build's any more: another build took "
                f"the place over, or {socket.gethostname()} does not see the same folder as the "
                "machine where the build was started; see that one build runs, on a place that "
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


def refusal(store: Store, other: str) -> ConfigError:
    """The error for the second build; `other` names the first."""
    return ConfigError(
        f"--out {store.url}: another build writes there ({other}); wait until it has ended, end "
        "it, or choose another place"
    )


def name_of(other: dict[str, Any]) -> str:
    """A build as an error names it."""
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
