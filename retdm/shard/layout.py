"""Which photo goes into which tar: decided from the listing, before any photo is packed.

Each tar is so a job of its own: any process on any machine can pack it, in any order, and the
bytes are the same.
"""

import hashlib
import json
import math
import os
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import PIL

import retdm
from retdm.datasets import Record
from retdm.datasets.splits import rank
from retdm.errors import DatasetError
from retdm.shard.photo import read_photo
from retdm.shard.spec import ShardSpec
from retdm.shard.tar import description, size_in_tar

_MEASURED = 64
"""Photos whose reduction is tried, to foresee how many fill a tar."""


@dataclass(frozen=True, slots=True)
class ShardJob:
    """One tar to be packed."""

    split: str
    number: int
    records: tuple[Record, ...]
    source_sizes: tuple[int, ...]
    """Bytes of each photo's file when the tar was laid out."""
    fingerprint: str
    """Of everything that decides the tar's bytes; changes when a photo's file was touched."""

    @property
    def name(self) -> str:
        """Of the tar in the shard set."""
        return f"{self.split}/{self.number:06d}.tar"


def lay_out(records: Sequence[Record], spec: ShardSpec, labels: tuple[str, ...]) -> list[ShardJob]:
    """Cut every split into tars.

    A tar is closed before it would pass `shards.bytes`, or at `shards.samples` photos. Photos
    that are stored as they are count with the size of their file. Of photos to be reduced nobody
    knows the size yet: they count with that share of it which the first 64 photos of the whole
    set keep, so such tars come near `shards.bytes` and may pass it.

    Args:
        records: Of all splits; `split` is set.
        spec: Says how large tars get, and in which order photos stand.
        labels: Names in column order.

    Returns:
        The tars of train, val, test and then other splits, each in order.
    """
    stats = {record.key: _stat(record) for record in records}
    share = _kept_share(records, {key: size for key, (size, _) in stats.items()}, spec)
    common = [
        *(retdm.__version__, PIL.__version__, spec.resize.model_dump(), spec.check),
        *labels,
    ]
    jobs: list[ShardJob] = []
    for split in _in_order({str(record.split) for record in records}):
        mine = {record.key: record for record in records if record.split == split}
        # Neighbours in a source are often alike (bursts, classes); mixed shards shuffle better.
        order = [mine[key] for key in rank(list(mine), seed=spec.split.seed, purpose="order")]
        weights = [
            size_in_tar(
                math.ceil(stats[record.key][0] * share),
                len(description(record.key, record.labels, labels)),
            )
            for record in order
        ]
        for number, part in enumerate(_cut(weights, spec.shards.bytes, spec.shards.samples)):
            chosen = tuple(order[part])
            rows = [
                [record.key, str(record.image), record.labels, *stats[record.key]]
                for record in chosen
            ]
            text = json.dumps([common, split, number, rows])
            jobs.append(
                ShardJob(
                    split,
                    number,
                    chosen,
                    tuple(stats[record.key][0] for record in chosen),
                    hashlib.sha256(text.encode()).hexdigest(),
                )
            )
    return jobs


def _stat(record: Record) -> tuple[int, int]:
    """Size and time of a photo's file; of one that is gone, which packing will report, zeros."""
    try:
        found = os.stat(record.image)
    except OSError:
        return 0, 0
    return found.st_size, found.st_mtime_ns


def _kept_share(records: Sequence[Record], sizes: dict[str, int], spec: ShardSpec) -> float:
    """Bytes stored for each byte of the source."""
    if not spec.resize.short_side:
        return 1.0
    of_key = {record.key: record for record in records}
    before = after = 0
    for key in rank(list(of_key), seed=spec.split.seed, purpose="order")[:_MEASURED]:
        try:
            after += len(read_photo(of_key[key], spec.resize).content)
            before += sizes[key]
        except DatasetError:  # packing reports it
            continue
    return after / before if before else 1.0


def _cut(weights: Sequence[int], most_bytes: int, most_samples: int) -> Iterator[slice]:
    """Neighbouring rows that fit into a tar, at least one in each."""
    start = filled = 0
    for row, weight in enumerate(weights):
        if row > start and (filled + weight > most_bytes or row - start >= most_samples):
            yield slice(start, row)
            start, filled = row, 0
        filled += weight
    if weights:
        yield slice(start, len(weights))


def _in_order(splits: set[str]) -> list[str]:
    usual = [name for name in ("train", "val", "test") if name in splits]
    return usual + sorted(splits.difference(usual))
