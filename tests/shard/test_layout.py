"""Where one tar ends and the next begins: decided from the listing alone."""

import itertools
import random
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retdm.datasets import Record
from retdm.datasets.splits import rank
from retdm.shard.layout import _cut, lay_out
from retdm.shard.spec import ShardSpec


@given(st.lists(st.integers(1, 50), max_size=60), st.integers(1, 200), st.integers(1, 12))
def test_tars_are_as_full_as_they_may_be(weights, most_bytes, most_samples):
    parts = [weights[part] for part in _cut(weights, most_bytes, most_samples)]
    assert list(itertools.chain(*parts)) == weights
    for part in parts:
        assert 1 <= len(part) <= most_samples
        assert len(part) == 1 or sum(part) <= most_bytes
    for part, following in itertools.pairwise(parts):
        assert len(part) == most_samples or sum(part) + following[0] > most_bytes


@pytest.fixture(scope="module")
def records(tmp_path_factory):
    folder = tmp_path_factory.mktemp("photos")
    out = []
    for number in range(60):
        path = folder / f"{number}.jpg"
        path.write_bytes(bytes(number * 37 % 5000))
        split = ("train", "test", "other")[number % 3]
        out.append(Record(f"k{number}", path, (number % 2,), split, f"row {number}"))
    return out


def laid_out(records, **shards):
    spec = ShardSpec.model_validate({"name": "x", "reader": "table", "shards": shards})
    return lay_out(records, spec, ("a", "b"))


def test_every_photo_once_in_the_order_of_its_split(records):
    jobs = laid_out(records, bytes=20_000)
    assert [job.split for job in jobs] == sorted(
        [job.split for job in jobs], key=["train", "test", "other"].index
    )
    for split in ("train", "test", "other"):
        mine = [job for job in jobs if job.split == split]
        assert [job.name for job in mine] == [f"{split}/{n:06d}.tar" for n in range(len(mine))]
        keys = [record.key for job in mine for record in job.records]
        wanted = [record.key for record in records if record.split == split]
        assert keys == rank(wanted, seed=0, purpose="order")


def test_the_order_of_the_listing_does_not_matter(records):
    mixed = random.Random(1).sample(records, len(records))
    assert laid_out(mixed, bytes=20_000) == laid_out(records, bytes=20_000)


def test_a_photo_that_is_gone_is_laid_out_all_the_same(records):
    gone = [Record("gone", Path("/no/such.jpg"), (), "train", "row 0"), *records]
    (job,) = [j for j in laid_out(gone) if "gone" in [r.key for r in j.records]]
    assert job.source_sizes[[r.key for r in job.records].index("gone")] == 0
