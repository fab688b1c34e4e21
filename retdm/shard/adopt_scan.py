"""One tar looked at from end to end: its index, its rows, its digests and its faults."""

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from retdm.data.index import format_index
from retdm.data.manifest import ShardInfo
from retdm.shard.adopt_rules import AdoptRules
from retdm.shard.adopt_tar import FaultyTarError, Row, read_rows
from retdm.shard.fault import Fault
from retdm.shard.local import local_copy
from retdm.shard.unfinished import Rows
from retdm.storage import Store

STEP_BYTES = 1 << 20
"""Bytes of a tar that are one step of progress."""


@dataclass(frozen=True, slots=True)
class ScanTask:
    """A tar to be looked at; goes to any process."""

    store: Store
    name: str
    rules: AdoptRules
    known: Mapping[str, int] | None
    """Columns by label name if --names gave them."""


@dataclass(slots=True)
class ScannedTar:
    """What is in a tar."""

    name: str
    info: ShardInfo
    """Its entry in the manifest."""
    index: bytes
    """Content of its offset index."""
    rows: Rows
    """Of the label table, but without labels: their columns are known when all tars are."""
    labels: list[list[str]]
    """Names of each row's labels."""
    faults: list[Fault]
    """Of single samples, which have no row."""
    broken: Fault | None
    """Of the tar as a whole."""


def scan(task: ScanTask) -> Iterator[ScannedTar | None]:
    """Look at every sample of a tar.

    Yields:
        None for every `STEP_BYTES` of it; at last what is in it.

    Raises:
        StorageError: If it cannot be read.
    """
    rows: list[Row] = []
    faults: list[Fault] = []
    broken: Fault | None = None
    steps = 0
    with local_copy(task.store, task.name) as path:
        size = path.stat().st_size
        try:
            for row in read_rows(path, task.name, task.rules, task.known):
                if isinstance(row, Fault):
                    faults.append(row)
                    continue
                rows.append(row)
                while (steps + 1) * STEP_BYTES <= row.image.offset:
                    steps += 1
                    yield None
        except FaultyTarError as error:
            broken = Fault(task.name, "", str(error))
        with path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
    index = format_index([row.members for row in rows])
    yield ScannedTar(
        name=task.name,
        info=ShardInfo(
            name=task.name,
            samples=len(rows),
            bytes=size,
            sha256=digest,
            index_sha256=hashlib.sha256(index).hexdigest(),
        ),
        index=index,
        rows=Rows(
            keys=[row.key for row in rows],
            labels=[],
            sha256=[row.sha256 for row in rows],
            widths=[row.width for row in rows],
            heights=[row.height for row in rows],
            offsets=[row.image.offset for row in rows],
            sizes=[row.image.size for row in rows],
        ),
        labels=[row.labels for row in rows],
        faults=faults,
        broken=broken,
    )
