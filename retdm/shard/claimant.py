"""What a claim on a place says: which build holds it, and whether its process still lives."""

import json
import os
import socket
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from retdm.errors import ConfigError, NotFoundError, StorageError
from retdm.storage import Store


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


def refusal(store: Store, content: bytes) -> ConfigError:
    """The error for the second build; `content` is the claim of the first."""
    try:
        other = name_of(json.loads(content))
    except (ValueError, KeyError, TypeError):  # it is just writing the file
        other = "another process"
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
