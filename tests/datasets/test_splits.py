"""Seeded splits: exact, independent of file order, never overlapping."""

import hashlib
import random
from collections import Counter
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retdm.datasets import Record, SplitOptions, assign_splits
from retdm.datasets.splits import rank
from retdm.errors import DatasetError


def records(count, split=None):
    return [
        Record(key=f"k{i}", image=Path("x.jpg"), labels=(), split=split, where="")
        for i in range(count)
    ]


def by_key(found):
    return {record.key: record.split for record in found}


def test_rank_is_a_sort_by_hash():
    keys = [f"k{i}" for i in range(50)]
    slow = sorted(keys, key=lambda k: hashlib.sha256(b"3\ntest\n" + k.encode()).hexdigest())
    assert rank(keys, seed=3, purpose="test") == slow


def test_shares_are_exact_as_in_the_paper():
    found = assign_splits(records(2000), SplitOptions())
    assert Counter(r.split for r in found) == {"train": 1360, "val": 240, "test": 400}


def test_file_order_changes_nothing():
    mixed = records(100)
    random.Random(0).shuffle(mixed)
    options = SplitOptions(seed=5)
    assert by_key(assign_splits(mixed, options)) == by_key(assign_splits(records(100), options))


def test_another_seed_gives_another_split():
    one, two = (by_key(assign_splits(records(100), SplitOptions(seed=s))) for s in (0, 1))
    assert one != two


def test_the_share_of_validation_does_not_move_the_test_photos():
    one, two = (by_key(assign_splits(records(100), SplitOptions(val=v))) for v in (0.0, 0.3))
    assert {k for k, s in one.items() if s == "test"} == {k for k, s in two.items() if s == "test"}


def test_listed_test_photos_stay_and_validation_comes_from_train():
    listed = records(40, "train") + [
        Record(key=f"t{i}", image=Path("x.jpg"), labels=(), split="test", where="")
        for i in range(10)
    ]
    found = assign_splits(listed, SplitOptions(val=0.25))
    assert Counter(r.split for r in found) == {"train": 30, "val": 10, "test": 10}
    assert all(r.split == "test" for r in found if r.key.startswith("t"))


def test_listed_validation_is_left_alone():
    listed = records(10, "train")[:8] + records(10, "val")[8:]
    assert assign_splits(listed, SplitOptions(val=0.5)) == listed


def test_share_zero_makes_no_split():
    assert {r.split for r in assign_splits(records(5), SplitOptions(test=0, val=0))} == {"train"}


def test_an_empty_split_is_an_error():
    with pytest.raises(DatasetError, match=r"split.val = 0.15 of 2 photos is 0; every split"):
        assign_splits(records(3), SplitOptions(test=0.4))


def test_without_train_photos_it_is_an_error():
    with pytest.raises(DatasetError, match=r'no photo is in split "train" \(there are: test\)'):
        assign_splits(records(3, "test"), SplitOptions())


@given(count=st.integers(20, 200), seed=st.integers(0, 9), test=st.floats(0.1, 0.5))
def test_every_photo_is_in_exactly_one_split(count, seed, test):
    found = assign_splits(records(count), SplitOptions(seed=seed, test=test))
    assert [r.key for r in found] == [r.key for r in records(count)]
    counts = Counter(r.split for r in found)
    assert counts["test"] == round(test * count)
    assert counts["val"] == round(0.15 * (count - counts["test"]))
