"""Which rank handles what of an epoch, and where a run stands in it.

Global batch b is a slice of the epoch's order, cut contiguously into parts, of which each rank
handles one, or the same number of neighbouring ones. So what is in a batch does not depend on how
many workers there are, and training can resume at any batch on any number of them.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from retdm.data.order import Order, Rows
from retdm.errors import CheckpointError

_SPARE = 8


@dataclass(frozen=True, slots=True)
class Part:
    """A part of one global batch."""

    rows: Rows
    """Rows of the split's label table; the valid ones first."""
    valid: npt.NDArray[np.bool_]
    """False where a row only fills up this part."""
    global_size: int
    """Valid rows over all parts."""
    spare: Rows
    """The rows that follow in the batch, round the batch: they may stand in for bad images."""


@dataclass(frozen=True, slots=True)
class Position:
    """Where a run stands in its data: all that a checkpoint keeps to go on exactly there."""

    seed: int
    epoch: int
    next_batch: int
    """The first batch of the epoch that has not been trained on."""
    digest: str
    """SHA-256 of the manifest."""
    batch_size: int
    """Global."""
    window: int
    """Shards mixed with one another, as resolved."""

    def to_dict(self) -> dict[str, Any]:
        """Plain values for a checkpoint."""
        return asdict(self)

    @classmethod
    def from_dict(cls, table: Mapping[str, Any]) -> "Position":
        """Read `to_dict` back.

        Raises:
            CheckpointError: If a value is missing, unknown or of the wrong type.
        """
        kinds = {"digest": str}
        names = [field.name for field in fields(cls)]
        if sorted(table) != sorted(names) or not all(
            isinstance(table[name], kinds.get(name, int)) for name in names
        ):
            raise CheckpointError(
                f"the checkpoint's data position is {dict(table)}, wanted {', '.join(names)}; "
                "start the run again under another name"
            )
        return cls(**table)

    def check(self, now: "Position") -> None:
        """Make sure that the run to resume reads the same batches as `now`, one not begun.

        Raises:
            CheckpointError: Names what differs.
        """
        names = {
            "seed": "seed",
            "data.batch_size": "batch_size",
            "data.shuffle_window": "window",
            "data digest": "digest",
        }
        differing = [
            f"{name} was {getattr(self, field)}, is {getattr(now, field)}"
            for name, field in names.items()
            if getattr(self, field) != getattr(now, field)
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint belongs to another order of the data ({'; '.join(differing)}); "
                "set these back, or start a run under another name"
            )


def num_batches(samples: int, batch_size: int) -> int:
    """Global batches of an epoch, the last of which may be short.

    Example:
        >>> num_batches(10, 4), num_batches(8, 4), num_batches(0, 4)
        (3, 2, 0)
    """
    return -(-samples // batch_size)


def parts_of(rank: int, *, world_size: int, parts: int) -> range:
    """The parts of a global batch that a rank handles: as many on every rank.

    Where they do not divide evenly, the last ranks' go beyond `parts`: those are idle.

    Example:
        >>> [parts_of(rank, world_size=3, parts=4) for rank in range(3)]
        [range(0, 2), range(2, 4), range(4, 6)]
    """
    each = -(-parts // world_size)
    return range(rank * each, (rank + 1) * each)


@dataclass(frozen=True, slots=True, kw_only=True)
class Cut:
    """How global batches are cut into parts, seen from one of them.

    A batch's rows are cut contiguously into pieces whose sizes differ by at most one, the larger
    first. All parts then get equally many rows, by repeating samples of the same batch as
    invalid rows, so that collectives on the ranks have equal shapes. An idle part has invalid
    rows only.
    """

    batch_size: int
    """Global."""
    part: int
    """From 0; idle from `parts` on."""
    parts: int
    min_rows: int
    """Rows that every part gets at least; 2 in training, for batch normalisation."""

    def span(self, total: int) -> tuple[int, int, int]:
        """In a batch of `total` rows: the first of this part, its own rows, and its rows."""
        base, extra = divmod(total, self.parts)
        first = self.part * base + min(self.part, extra)
        own = base + (self.part < extra) if self.part < self.parts else 0
        return first, own, max(base + (extra > 0), self.min_rows)

    def reads(self, places: Rows, total: int) -> npt.NDArray[np.bool_]:
        """Whether these places of a batch of `total` rows are in this part."""
        first, _, padded = self.span(total)
        return (places - first) % total < padded


def part_of(order: Order, batch: int, cut: Cut) -> Part:
    """A part of global batch `batch`, from 0 to num_batches - 1."""
    rows = order.rows(batch * cut.batch_size, (batch + 1) * cut.batch_size)
    total = len(rows)
    assert total > 0
    first, own, padded = cut.span(total)
    # The samples that follow one's own, round the batch: other parts' first, then one's own.
    picks = (first + np.arange(padded + _SPARE)) % total
    return Part(
        rows=rows[picks[:padded]],
        valid=np.arange(padded) < own,
        global_size=total,
        spare=rows[picks[padded:]],
    )


def coming_shards(
    order: Order, start_batch: int, cuts: Sequence[Cut]
) -> Iterator[tuple[int, int]]:
    """The shards that the parts of one rank need from `start_batch` on, in order of first use.

    Yields:
        The first batch that needs the shard, and the shard's number.
    """
    size = cuts[0].batch_size
    last = num_batches(len(order), size) - 1
    for first, rows in order.windows(start_batch * size):
        batches, places = np.divmod(first + np.arange(len(rows)), size)
        tail = batches == last
        read = np.zeros(len(rows), dtype=np.bool_)
        for cut in cuts:
            read[~tail] |= cut.reads(places[~tail], size)
            read[tail] |= cut.reads(places[tail], len(order) - last * size)
        # Windows share no shards, so what is new here is new.
        shards, firsts = np.unique(order.shard_of(rows[read]), return_index=True)
        by_use = np.argsort(firsts)
        first_batches = batches[read][firsts[by_use]]
        yield from zip(first_batches.tolist(), shards[by_use].tolist(), strict=True)
