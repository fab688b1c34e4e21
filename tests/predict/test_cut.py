"""Parts of an output: whole batches, each image in exactly one."""

from hypothesis import given
from hypothesis import strategies as st

from retdm.predict.cut import cut_files, cut_split

sizes = st.integers(1, 40)


def images(parts):
    return [image for part in parts for image in range(part.first, part.last)]


def assert_whole_batches(parts, batch_size):
    assert [part.number for part in parts] == list(range(len(parts)))
    assert all(part.first % batch_size == 0 and len(part) > 0 for part in parts)


@given(st.integers(1, 300), sizes, sizes)
def test_files_are_in_one_part_each_and_batches_are_not_cut(count, part_size, batch_size):
    parts = cut_files(count, part_size=part_size, batch_size=batch_size)
    assert images(parts) == list(range(count))
    assert_whole_batches(parts, batch_size)
    assert all(part_size <= len(part) < part_size + batch_size for part in parts[:-1])


@given(st.lists(st.integers(0, 50), min_size=1).filter(any), sizes, sizes)
def test_samples_are_in_one_part_each_and_batches_are_not_cut(shards, part_size, batch_size):
    parts = cut_split(shards, part_size=part_size, batch_size=batch_size)
    assert images(parts) == list(range(sum(shards)))
    assert_whole_batches(parts, batch_size)


@given(st.lists(st.integers(1, 50), min_size=1), sizes, sizes)
def test_a_part_ends_less_than_a_batch_behind_a_shard(shards, part_size, batch_size):
    ends = {sum(shards[: at + 1]) for at in range(len(shards))}
    for part in cut_split(shards, part_size=part_size, batch_size=batch_size):
        assert ends & set(range(part.last - batch_size + 1, part.last + 1))
