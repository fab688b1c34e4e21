from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from retdm.data.order import Order, epoch_order, table_order
from retdm.data.plan import Cut, Position, coming_shards, num_batches, part_of
from retdm.errors import CheckpointError

WORLDS = (1, 2, 3, 4, 8, 64)
SIZES = st.lists(st.integers(0, 12), max_size=12)


def order_of(sizes: list[int], *, epoch: int = 0, seed: int = 0, window: int = 3) -> Order:
    return epoch_order(sizes, digest="d", split="train", seed=seed, epoch=epoch, window=window)


def cuts(batch_size: int, world: int, min_rows: int = 2) -> list[Cut]:
    return [
        Cut(batch_size=batch_size, part=rank, parts=world, min_rows=min_rows)
        for rank in range(world)
    ]


def batches_of(order: Order, batch_size: int, world: int, *, start: int = 0) -> list[list[int]]:
    """Global batches put together again from the ranks' valid rows."""
    return [
        [
            row
            for cut in cuts(batch_size, world)
            for part in [part_of(order, b, cut)]
            for row in part.rows[part.valid].tolist()
        ]
        for b in range(start, num_batches(len(order), batch_size))
    ]


@given(SIZES, st.integers(1, 20), st.integers(1, 5), st.integers(0, 3), st.integers(0, 3))
@settings(deadline=None)
def test_every_sample_comes_exactly_once_in_the_same_batches_for_any_world(
    sizes: list[int], batch_size: int, window: int, epoch: int, seed: int
) -> None:
    order = order_of(sizes, epoch=epoch, seed=seed, window=window)
    listed = order.rows(0, len(order)).tolist()
    assert sorted(listed) == list(range(sum(sizes)))
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
    order = table_order([total])
    parts = [part_of(order, 0, cut) for cut in cuts(total, world, min_rows)]
    assert {len(part.rows) for part in parts} == {max(-(-total // world), min_rows)}
    counts = [int(part.valid.sum()) for part in parts]
    assert max(counts) - min(counts) <= 1
    assert counts == sorted(counts, reverse=True)
    for part, count in zip(parts, counts, strict=True):
        assert part.valid.tolist() == [True] * count + [False] * (len(part.rows) - count)
        assert set(part.rows.tolist()) <= set(range(total))
        assert part.global_size == total


def test_fill_up_rows_repeat_as_little_as_possible() -> None:
    part = part_of(table_order([5]), 0, cuts(5, 2, 5)[1])
    assert part.rows.tolist() == [3, 4, 0, 1, 2]
    assert part.valid.tolist() == [True, True, False, False, False]


@given(SIZES, st.integers(1, 20), st.integers(1, 14), st.sampled_from(WORLDS), st.integers(0, 9))
@settings(deadline=None)
def test_coming_shards_are_those_a_rank_reads_in_order_of_first_use(
    sizes: list[int], batch_size: int, window: int, world: int, start: int
) -> None:
    for order in (order_of(sizes, window=window), table_order(sizes)):
        for cut in cuts(batch_size, world)[:: max(world // 4, 1)]:
            wanted: dict[int, int] = {}
            for batch in range(start, num_batches(len(order), batch_size)):
                rows = np.sort(part_of(order, batch, cut).rows)
                for shard in order.shard_of(rows).tolist():
                    wanted.setdefault(shard, batch)
            found = list(coming_shards(order, start, [cut]))
            assert {shard: batch for batch, shard in found} == wanted
            assert len(found) == len(wanted)
            assert [batch for batch, _ in found] == sorted(batch for batch, _ in found)


POSITION = Position(seed=1, epoch=2, next_batch=3, digest="d", batch_size=4, window=16)


def test_a_position_is_read_back() -> None:
    assert Position.from_dict(POSITION.to_dict()) == POSITION
    POSITION.check(replace(POSITION, epoch=0, next_batch=0))


@pytest.mark.parametrize("change", [{"epoch": "2"}, {"extra": 1}, {"digest": 5}, {"window": "3"}])
def test_a_damaged_position_is_an_error(change: dict[str, object]) -> None:
    with pytest.raises(CheckpointError, match="wanted seed, epoch, next_batch, digest, batch_siz"):
        Position.from_dict(POSITION.to_dict() | change)


def test_a_position_in_another_order_says_what_differs() -> None:
    with pytest.raises(
        CheckpointError,
        match=r"\(data.batch_size was 4, is 8; data digest was d, is e\); set these back, or",
    ):
        POSITION.check(replace(POSITION, digest="e", batch_size=8))
    with pytest.raises(CheckpointError, match=r"\(data.shuffle_window was 16, is 3\); set these"):
        POSITION.check(replace(POSITION, window=3))
