"""One thing that is wrong in a shard set, or in tars that are to become one."""

from dataclasses import dataclass


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
