import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retdm.data.draws import permutation, random_words
from retdm.data.plan import Position, Rows, epoch_order, num_batches, rank_part
from retdm.errors import CheckpointError

WORLDS = (1, 2, 3, 4, 8, 64)
SIZES = st.lists(st.integers(0, 12), max_size=12)


def order_of(sizes: list[int], *, epoch: int = 0, seed: int = 0, window: int = 3) -> Rows:
    return epoch_order(sizes, digest="d", split="train", seed=seed, epoch=epoch, window=window)


def batches_of(order: Rows, batch_size: int, world: int, *, start: int = 0) -> list[list[int]]:
    """Global batches put together again from the ranks' valid rows."""
    return [
        np.concatenate(
            [
                part.rows[part.valid]
                for rank in range(world)
                for part in [
                    rank_part(
                        order, b, batch_size=batch_size, rank=rank, world_size=world, min_rows=2
                    )
                ]
            ]
        ).tolist()
        for b in range(start, num_batches(len(order), batch_size))
    ]


@given(SIZES, st.integers(1, 20), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None)
def test_every_sample_comes_exactly_once_in_the_same_batches_for_any_world(
    sizes: list[int], batch_size: int, window: int, epoch: int, seed: int
) -> None:
    order = order_of(sizes, epoch=epoch, seed=seed, window=window)
    assert sorted(order.tolist()) == list(range(sum(sizes)))
    listed = order.tolist()
    wanted = [listed[at : at + batch_size] for at in range(0, len(listed), batch_size)]
    for world in WORLDS:
        assert batches_of(order, batch_size, world) == wanted


@given(SIZES, st.integers(1, 20), st.integers(0, 30), st.sampled_from(WORLDS))
@settings(deadline=None)
def test_resuming_gives_the_tail_of_the_unbroken_run(
    sizes: list[int], batch_size: int, start: int, world: int
) -> None:
    order = order_of(sizes)
    assert (
        batches_of(order, batch_size, world, start=start)
        == (batches_of(order, batch_size, 1)[start:])
    )


@given(st.integers(1, 40), st.sampled_from(WORLDS), st.sampled_from([0, 1, 2]))
@settings(deadline=None)
def test_parts_have_equal_rows_and_fill_up_from_the_same_batch(
    total: int, world: int, min_rows: int
) -> None:
    order = np.arange(100, 100 + total)
    parts = [
        rank_part(order, 0, batch_size=total, rank=r, world_size=world, min_rows=min_rows)
        for r in range(world)
    ]
    assert {len(part.rows) for part in parts} == {max(-(-total // world), min_rows)}
    counts = [int(part.valid.sum()) for part in parts]
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)
    for part, count in zip(parts, counts, strict=True):
        assert part.valid.tolist() == [True] * count + [False] * (len(part.rows) - count)
        assert set(part.rows) <= set(order)
        assert part.global_size == total


def test_fill_up_rows_repeat_as_little_as_possible() -> None:
    part = rank_part(np.arange(5), 0, batch_size=5, rank=1, world_size=2, min_rows=5)
    assert part.rows.tolist() == [3, 4, 0, 1, 2]
    assert part.valid.tolist() == [True, True, False, False, False]


@given(st.lists(st.integers(1, 9), min_size=1, max_size=12), st.integers(1, 5))
@settings(deadline=None)
def test_a_window_reads_only_its_own_shards(sizes: list[int], window: int) -> None:
    order = order_of(sizes, window=window)
    shard = np.repeat(np.arange(len(sizes)), sizes)[order].tolist()
    while shard:
        used: set[int] = set()
        length = 0
        # Take samples until their shards are used up: no sample may come from elsewhere.
        while len(used | {shard[length]}) <= window:
            used.add(shard[length])
            length += 1
            if length == sum(sizes[s] for s in used) and len(used) == window:
                break
            if length == len(shard):
                break
        assert length == sum(sizes[s] for s in used)
        shard = shard[length:]


def test_epoch_seed_split_and_digest_each_change_the_order() -> None:
    sizes = [10] * 6

    def order(
        digest: str = "d", split: str = "train", seed: int = 0, epoch: int = 0
    ) -> tuple[int, ...]:
        return tuple(
            epoch_order(
                sizes, digest=digest, split=split, seed=seed, epoch=epoch, window=2
            ).tolist()
        )

    orders = {order(), order("e"), order(split="val"), order(seed=1), order(epoch=1)}
    assert len(orders) == 5


def test_the_order_never_changes_between_versions() -> None:
    # A checkpoint from an older release must find the same order: these are frozen.
    assert order_of([3, 2, 4], seed=1, epoch=2, window=2).tolist() == FROZEN_ORDER
    assert random_words(2, "frozen", 1).tolist() == FROZEN_WORDS


FROZEN_ORDER = [0, 1, 2, 4, 3, 7, 6, 8, 5]
FROZEN_WORDS = [11616300325451846882, 7570241932727626585]


def test_permutations_are_uniform() -> None:
    counts = np.zeros((5, 5))
    for key in range(2000):
        counts[np.arange(5), permutation(5, "uniform", key)] += 1
    # 400 expected in each cell, standard deviation 18.
    assert abs(counts - 400).max() < 80


def test_a_position_is_read_back() -> None:
    position = Position(seed=1, epoch=2, next_batch=3, digest="d", batch_size=4)
    assert Position.from_dict(position.to_dict()) == position
    position.check(seed=1, digest="d", batch_size=4)


@pytest.mark.parametrize("change", [{"epoch": "2"}, {"extra": 1}, {"digest": 5}])
def test_a_damaged_position_is_an_error(change: dict[str, object]) -> None:
    table = {"seed": 1, "epoch": 2, "next_batch": 3, "digest": "d", "batch_size": 4}
    with pytest.raises(CheckpointError, match="wanted seed, epoch, next_batch, digest, batch_siz"):
        Position.from_dict(table | change)


def test_a_position_in_other_data_says_what_differs() -> None:
    position = Position(seed=1, epoch=2, next_batch=3, digest="d", batch_size=4)
    with pytest.raises(
        CheckpointError,
        match=r"\(data.batch_size was 4, is 8; data digest was d, is e\); set these back, or",
    ):
        position.check(seed=1, digest="e", batch_size=8)
