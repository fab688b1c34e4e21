"""One thing that is wrong in a shard set, or in tars that are to become one."""

from dataclasses import dataclass


def counted(number: int, what: str = "fault") -> str:
    """A number and what it counts: "1 fault", "2 faults"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong, and where."""

    file: str
    """Name in the shard set."""
    sample: str
    """Key, or "" if it concerns the whole file."""
    what: str

    def __str__(self) -> str:
        where = f"{self.file}: sample {self.sample!r}" if self.sample else self.file
        return f"{where}: {self.what}"
