"""What every reader returns: a label space and one record for each photo."""

import re
from dataclasses import dataclass
from pathlib import Path

from retdm.errors import DatasetError
from retdm.labels import LabelSpace

_SPLIT = re.compile(r"[A-Za-z0-9_-]+")


@dataclass(frozen=True, slots=True)
class Record:
    """One photo and its labels."""

    key: str
    """Name of the sample in the shards; no '.', '/' or blank in it (see `files.key_of`)."""
    image: Path
    labels: tuple[int, ...]
    """Columns of the label space, ascending, each at most once; empty: a photo of none."""
    split: str | None
    """The split that the annotations put it in; None: `splits.assign_splits` draws it."""
    where: str
    """File and row the record comes from, relative to the source; opens error messages."""


@dataclass(frozen=True, slots=True)
class Dataset:
    """All photos of a source, in the order of its files.

    Raises:
        DatasetError: If there is no record, two records share a key, or only some of them
            name their split.
    """

    labels: LabelSpace
    records: tuple[Record, ...]

    def __post_init__(self) -> None:
        if not self.records:
            raise DatasetError(
                "the source holds no photo; check --source and the reader's options"
            )
        first: dict[str, Record] = {}
        for record in self.records:
            other = first.setdefault(record.key, record)
            if other is not record:
                raise _twins(record, other)
        self._check_splits()

    def _check_splits(self) -> None:
        listed = [record for record in self.records if record.split is not None]
        if listed and len(listed) < len(self.records):
            bare = next(record for record in self.records if record.split is None)
            raise DatasetError(
                f"{bare.where}: photo {bare.key!r} names no split while {listed[0].where} does; "
                "name the split of every photo or of none"
            )
        for record in listed:
            if not _SPLIT.fullmatch(str(record.split)):
                raise DatasetError(
                    f"{record.where}: split {record.split!r} cannot name a folder; use letters, "
                    'digits, "-" and "_", for example train, val, test'
                )


def _twins(record: Record, other: Record) -> DatasetError:
    """The error for the second record of a key."""
    if record.image == other.image:
        return DatasetError(
            f"{record.where}: duplicate key {record.key!r}, already used by {other.where}; each "
            "photo must be listed once, under its own name"
        )
    return DatasetError(
        f"{record.where}: photo {record.image} would have the key {record.key!r}, which photo "
        f"{other.image} has already ({other.where}): a key is the path without its suffix, '/' "
        "written '__' and other signs '_'; rename one of them, or let a column name the samples "
        "(options.key_column of the table reader), each differently"
    )
