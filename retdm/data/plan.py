"""Which sample stands where in an epoch, and which rank handles it.

The order of an epoch is a pure function of the shard set and four numbers. Global batch b is a
slice of that order, cut contiguously among the ranks, so what is in a batch does not depend on
how many workers there are, and training can resume at any batch on any number of them.
"""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import numpy as np
import numpy.typing as npt

from retdm.data.draws import permutation
from retdm.errors import CheckpointError

Rows = npt.NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Part:
    """One rank's rows of one global batch."""

    rows: Rows
    """Rows of the split's label table; the valid ones first."""
    valid: npt.NDArray[np.bool_]
    """False where a row only fills up this rank's part."""
    global_size: int
    """Valid rows over all ranks."""


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

    def check(self, *, seed: int, digest: str, batch_size: int) -> None:
        """Make sure that the run to resume reads the same batches.

        Raises:
            CheckpointError: Names what differs.
        """
        now: dict[str, Any] = {"seed": seed, "data.batch_size": batch_size, "data digest": digest}
        then = (self.seed, self.batch_size, self.digest)
        differing = [
            f"{name} was {old}, is {new}"
            for old, (name, new) in zip(then, now.items(), strict=True)
            if old != new
        ]
        if differing:
            raise CheckpointError(
                f"the checkpoint belongs to another order of the data ({'; '.join(differing)}); "
                "set these back, or start a run under another name"
            )


def epoch_order(
    sizes: Sequence[int], *, digest: str, split: str, seed: int, epoch: int, window: int
) -> Rows:
    """All rows of a split in the order of one training epoch.

    The shards are permuted, and the samples of each `window` consecutive shards are permuted
    among themselves. So at any time only about `window` shards are being read.

    Args:
        sizes: Samples of each shard, in manifest order.
        digest: SHA-256 of the manifest.
        split: Name of the split.
        seed: Of the run.
        epoch: From 0.
        window: Shards mixed with one another; 1 or more.

    Returns:
        Every row 0 to sum(sizes) - 1 once.
    """
    key = (digest, split, seed, epoch)
    ends = np.cumsum(np.asarray(sizes, dtype=np.int64))
    shards = permutation(len(sizes), "shards", *key)
    parts: list[Rows] = [np.empty(0, dtype=np.int64)]
    for first in range(0, len(shards), window):
        rows = np.concatenate(
            [np.arange(ends[s] - sizes[s], ends[s]) for s in shards[first : first + window]]
        )
        parts.append(rows[permutation(len(rows), "samples", *key, first // window)])
    return np.concatenate(parts)


def num_batches(samples: int, batch_size: int) -> int:
    """Global batches of an epoch, the last of which may be short.

    Example:
        >>> num_batches(10, 4), num_batches(8, 4), num_batches(0, 4)
        (3, 2, 0)
    """
    return -(-samples // batch_size)


def rank_part(
    order: Rows, batch: int, *, batch_size: int, rank: int, world_size: int, min_rows: int
) -> Part:
    """What `rank` handles of global batch `batch`.

    The batch's rows are cut contiguously into `world_size` pieces whose sizes differ by at most
    one, the larger first. All ranks then get equally many rows, by repeating samples of the same
    batch as invalid rows, so that collectives on the ranks have equal shapes.

    Args:
        order: Rows in the order of the epoch.
        batch: From 0 to num_batches - 1.
        batch_size: Global.
        rank: From 0 to world_size - 1.
        world_size: Number of ranks.
        min_rows: Rows that every rank gets at least; 2 in training, for batch normalisation.
    """
    rows = order[batch * batch_size : (batch + 1) * batch_size]
    total = len(rows)
    assert total > 0
    assert 0 <= rank < world_size
    base, extra = divmod(total, world_size)
    start = rank * base + min(rank, extra)
    own = base + (rank < extra)
    padded = max(base + (extra > 0), min_rows)
    # The samples that follow one's own, round the batch: other ranks' first, then one's own.
    picks = (start + np.arange(padded)) % total
    return Part(rows=rows[picks], valid=np.arange(padded) < own, global_size=total)
