"""The rows of a split in one order, computed a window of shards at a time.

The order of a training epoch is a pure function of the shard set and four numbers. Its shards
are permuted, and the samples of each `window` consecutive shards are permuted among themselves,
by keys of their own: so any place of the epoch is found without what comes before it, at the
cost of one window, and memory is O(shards + samples of a window), whatever the samples in all.
"""

import math
from collections.abc import Iterator, Sequence

import numpy as np
import numpy.typing as npt

from retdm.data.draws import Key, permutation

Rows = npt.NDArray[np.int64]

# Windows that are kept: a batch may lie in two.
_KEPT = 2
_LEAST_WINDOW = 16
# Samples of a shard times the square of the window; see `resolve_window`.
_MIXING = 256_000


class Order:
    """Every row of a split once, in some order; slices of it are cheap.

    Args:
        sizes: Samples of each shard, in manifest order.
        shards: Shard numbers in the order in which they are read.
        window: Consecutive shards whose rows are materialised together.
        key: Draws the permutation within each window; None leaves the rows as they are.
    """

    def __init__(
        self,
        sizes: Sequence[int],
        shards: Rows,
        *,
        window: int,
        key: tuple[Key, ...] | None,
    ) -> None:
        self._sizes = np.asarray(sizes, dtype=np.int64)
        self._ends = np.cumsum(self._sizes)
        self._shards = shards
        self._window = window
        self._key = key
        places = np.append(0, np.cumsum(self._sizes[shards]))
        # Where each window begins in the order, and the order's end.
        self._bounds = np.append(places[:-1:window], places[-1])
        self._recent: dict[int, Rows] = {}

    def __len__(self) -> int:
        """Number of rows."""
        return int(self._bounds[-1])

    def rows(self, start: int, stop: int) -> Rows:
        """The rows at places `start` to `stop` - 1; fewer at the end of the order."""
        parts: list[Rows] = [np.empty(0, dtype=np.int64)]
        stop = min(stop, len(self))
        number = self._window_at(start)
        while start < stop:
            begin = int(self._bounds[number])
            part = self._cached(number)[start - begin : stop - begin]
            parts.append(part)
            start += len(part)
            number += 1
        return np.concatenate(parts)

    def windows(self, start: int) -> Iterator[tuple[int, Rows]]:
        """From place `start` on, window by window: the first row's place, and the rows.

        It shares nothing that changes with `rows`, so it may be used in another thread.
        """
        for number in range(self._window_at(start), len(self._bounds) - 1):
            begin = int(self._bounds[number])
            skipped = max(start - begin, 0)
            yield begin + skipped, self._materialise(number)[skipped:]

    def shard_of(self, rows: Rows) -> Rows:
        """Shard number of each row."""
        return np.searchsorted(self._ends, rows, side="right")

    def _window_at(self, place: int) -> int:
        # Of several windows that begin there all but the last are empty.
        return int(np.searchsorted(self._bounds, place, side="right")) - 1

    def _cached(self, number: int) -> Rows:
        if number not in self._recent:
            if len(self._recent) == _KEPT:
                del self._recent[next(iter(self._recent))]
            self._recent[number] = self._materialise(number)
        return self._recent[number]

    def _materialise(self, number: int) -> Rows:
        shards = self._shards[number * self._window : (number + 1) * self._window]
        sizes = self._sizes[shards]
        # Each shard's rows are consecutive numbers: its first row, less what is before it here.
        shift = self._ends[shards] - np.cumsum(sizes)
        rows = np.repeat(shift, sizes) + np.arange(sizes.sum())
        if self._key is None:
            return rows
        return rows[permutation(len(rows), "samples", *self._key, number)]


def epoch_order(
    sizes: Sequence[int], *, digest: str, split: str, seed: int, epoch: int, window: int
) -> Order:
    """The order of one training epoch.

    Args:
        sizes: Samples of each shard, in manifest order.
        digest: SHA-256 of the manifest.
        split: Name of the split.
        seed: Of the run.
        epoch: From 0.
        window: Shards mixed with one another; 1 or more.
    """
    key = (digest, split, seed, epoch)
    return Order(sizes, permutation(len(sizes), "shards", *key), window=window, key=key)


def table_order(sizes: Sequence[int]) -> Order:
    """The order of evaluation: that of the label table."""
    return Order(sizes, np.arange(len(sizes)), window=1, key=None)


def resolve_window(asked: int, sizes: Sequence[int]) -> int:
    """The shuffle window of a run: `data.shuffle_window`, or one that suits the shards.

    Two samples of one shard always share a window, so they meet in a batch more often than
    chance has it. Of a sample's companions in a batch of B about one in window^2 * shard size / B
    is met again in the next epoch for that reason. The window is the least, and at least 16, that
    makes this one in 1000 at B = 256 and the median shard; tests/bench/bench_shuffle.py measures
    it. It is then widened until the windows of an epoch are about equal, lest a few shards be
    left alone in the last: fewer than twice as many shards are all mixed with one another.

    Args:
        asked: The setting; 0 is automatic.
        sizes: Samples of each shard.

    Example:
        >>> resolve_window(0, [1000] * 160), resolve_window(0, [100] * 160), resolve_window(4, [9])
        (16, 54, 4)
    """
    filled = np.sort([size for size in sizes if size])
    if asked or not len(filled):
        return asked or _LEAST_WINDOW
    median = int(filled[len(filled) // 2])
    least = max(_LEAST_WINDOW, math.ceil(math.sqrt(_MIXING / median)))
    windows = max(len(sizes) // least, 1)
    return math.ceil(len(sizes) / windows)
