"""What a command line of `python -m retdm.predict` asks for."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

Format = Literal["json", "csv", "parquet"]
FORMATS: tuple[Format, ...] = ("json", "csv", "parquet")


@dataclass(frozen=True, slots=True)
class Asked:
    """Its arguments, by name."""

    model: str
    images: Sequence[str]
    split: str | None = None
    json: str | None = None
    csv: str | None = None
    parquet: str | None = None
    threshold: str | None = None
    top: int | None = None
    bad: Literal["error", "skip"] = "error"
    checkpoint: str = "best"
    batch_size: int | None = None
    workers: int | None = None
    ray: bool = False
    actors: int | None = None
    part_size: int | None = None

    @property
    def files(self) -> Mapping[Format, str]:
        """Where each format is to be written, of those that are asked for."""
        given: dict[Format, str | None] = {kind: getattr(self, kind) for kind in FORMATS}
        return {kind: url for kind, url in given.items() if url is not None}
