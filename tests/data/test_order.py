import tracemalloc

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retdm.data.draws import permutation, random_words
from retdm.data.order import Order, epoch_order, resolve_window, table_order

# Empty shards, one shard, fewer shards than the window, and one shard that outweighs the others.
SIZES = st.one_of(
    st.lists(st.integers(0, 12), max_size=12),
    st.builds(
        lambda sizes, huge, at: [*sizes[:at], huge, *sizes[at:]],
        st.lists(st.integers(0, 3), max_size=6),
        st.integers(50, 200),
        st.integers(0, 6),
    ),
)


def order_of(sizes: list[int], *, epoch: int = 0, seed: int = 0, window: int = 3) -> Order:
    return epoch_order(sizes, digest="d", split="train", seed=seed, epoch=epoch, window=window)


def listed(order: Order) -> list[int]:
    return order.rows(0, len(order)).tolist()


def written_out(sizes: list[int], *, epoch: int, seed: int, window: int) -> list[int]:
    """The order as its description says, with every row in memory."""

    def shuffled(items: list[int], *name: str | int) -> list[int]:
        words = random_words(len(items), *name)
        return [items[n] for n in sorted(range(len(items)), key=lambda n: (words[n], n))]

    key = ("d", "train", seed, epoch)
    shards = shuffled(list(range(len(sizes))), "shards", *key)
    order = []
    for number, at in enumerate(range(0, len(shards), window)):
        mixed = [
            sum(sizes[:shard]) + n
            for shard in shards[at : at + window]
            for n in range(sizes[shard])
        ]
        order += shuffled(mixed, "samples", *key, number)
    return order


@given(
    sizes=SIZES,
    window=st.integers(1, 14),
    epoch=st.integers(0, 3),
    seed=st.integers(0, 3),
    slices=st.lists(st.tuples(st.integers(0, 250), st.integers(0, 60)), max_size=8),
)
@settings(deadline=None)
def test_any_slice_is_that_of_the_whole_order(
    sizes: list[int], window: int, epoch: int, seed: int, slices: list[tuple[int, int]]
) -> None:
    whole = written_out(sizes, epoch=epoch, seed=seed, window=window)
    order = order_of(sizes, epoch=epoch, seed=seed, window=window)
    assert len(order) == len(whole) == sum(sizes)
    for start, length in slices:
        assert order.rows(start, start + length).tolist() == whole[start : start + length]
        rest = [(place, rows.tolist()) for place, rows in order.windows(start)]
        assert [row for _, rows in rest for row in rows] == whole[start:]
        assert all(whole[place : place + len(rows)] == rows for place, rows in rest)
    assert listed(order) == whole
    assert sorted(whole) == list(range(sum(sizes)))


@given(SIZES, st.integers(0, 30), st.integers(0, 30))
@settings(deadline=None)
def test_evaluation_goes_through_the_table(sizes: list[int], start: int, length: int) -> None:
    order = table_order(sizes)
    assert listed(order) == list(range(sum(sizes)))
    assert order.rows(start, start + length).tolist() == listed(order)[start : start + length]


@given(SIZES)
def test_each_row_is_in_its_shard(sizes: list[int]) -> None:
    order = table_order(sizes)
    wanted = [shard for shard, size in enumerate(sizes) for _ in range(size)]
    assert order.shard_of(np.arange(sum(sizes))).tolist() == wanted


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5))
@settings(deadline=None)
def test_a_window_reads_only_its_own_shards(sizes: list[int], window: int) -> None:
    order = order_of(sizes, window=window)
    met = [set(order.shard_of(rows).tolist()) for _, rows in order.windows(0)]
    assert [len(shards) for shards in met[:-1]] == [window] * (len(met) - 1)
    assert sum(len(shards) for shards in met) == len(set.union(*met)) == len(sizes)


def test_epoch_seed_split_and_digest_each_change_the_order() -> None:
    def order(
        digest: str = "d", split: str = "train", seed: int = 0, epoch: int = 0
    ) -> tuple[int, ...]:
        asked = {"digest": digest, "split": split, "seed": seed, "epoch": epoch}
        return tuple(listed(epoch_order([10] * 6, window=2, **asked)))  # type: ignore[arg-type]

    assert len({order(), order("e"), order(split="val"), order(seed=1), order(epoch=1)}) == 5


def test_the_order_never_changes_between_versions() -> None:
    # A checkpoint from an older release must find the same order: these are frozen.
    assert listed(order_of([3, 2, 4], seed=1, epoch=2, window=2)) == FROZEN_ORDER
    assert random_words(2, "frozen", 1).tolist() == FROZEN_WORDS
    assert [resolve_window(0, [n] * 999) for n in (1, 10, 100, 500, 10_000)] == FROZEN_WINDOWS


FROZEN_ORDER = [0, 1, 2, 4, 3, 7, 6, 8, 5]
FROZEN_WORDS = [11616300325451846882, 7570241932727626585]
FROZEN_WINDOWS = [999, 167, 53, 24, 17]


def test_permutations_are_uniform() -> None:
    counts = np.zeros((5, 5))
    for key in range(2000):
        counts[np.arange(5), permutation(5, "uniform", key)] += 1
    # 400 expected in each cell, standard deviation 18.
    assert abs(counts - 400).max() < 80


def test_a_billion_samples_take_the_memory_of_their_shards() -> None:
    sizes = [10_000] * 100_000
    tracemalloc.start()
    order = order_of(sizes, window=16)
    row = order.rows(987_654_321, 987_654_577)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert (len(order), len(row)) == (10**9, 256)
    assert peak < 20e6


@pytest.mark.parametrize(
    "asked, sizes, window",
    [
        (3, [1000] * 99, 3),
        (0, [], 16),
        (0, [0, 0], 16),
        (0, [1000] * 160, 16),
        (0, [1000] * 33, 17),  # two windows that are about equal
        (0, [1000] * 31, 31),  # all
        (0, [5], 1),
        (0, [0] * 90 + [100] * 63, 51),  # empty shards say nothing of their size
        (0, [100] * 101 + [10**6], 51),  # nor does one huge shard
    ],
)
def test_the_window_suits_the_shards(asked: int, sizes: list[int], window: int) -> None:
    assert resolve_window(asked, sizes) == window
