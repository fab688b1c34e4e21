"""Counts of a shard set, against counting by hand."""

import pytest

from retdm.errors import ShardError
from retdm.shard.stats import render, stats


def test_counts(shards):
    found = stats(str(shards))
    rows = [((n % 2), int(n % 3 == 0)) for n in range(20)]
    assert found["labels"] == ["sea", "sky"]
    assert list(found["splits"]) == ["train", "val", "test"]
    total = found["total"]
    assert total["samples"] == 20
    assert total["cardinality"] == sum(map(sum, rows)) / 20
    assert total["label_sets"] == len(set(rows))
    assert total["unlabelled"] == rows.count((0, 0))
    assert total["label_counts"] == {"sea": 10, "sky": 7}
    assert total["shards"] == len(list(shards.rglob("*.tar")))
    assert total["bytes"] == sum(p.stat().st_size for p in shards.rglob("*.tar"))
    for key in ("samples", "shards", "bytes", "unlabelled"):
        assert total[key] == sum(split[key] for split in found["splits"].values())


def test_people_see_the_same_numbers(shards):
    lines = render(stats(str(shards))).split("\n")
    assert lines[1].split() == ["train", "val", "test", "total"]
    assert lines[2].split() == ["samples", "14", "2", "4", "20"]
    assert lines[-1].split()[0] == "sky"


def test_another_table_is_noticed(shards):
    path = shards / "val/labels.parquet"
    path.write_bytes((shards / "test/labels.parquet").read_bytes())
    with pytest.raises(ShardError, match=r"val/labels.parquet: sha256 is \w+\.\.\., the manifest"):
        stats(str(shards))


def test_no_set(tmp_path):
    with pytest.raises(ShardError, match="no finished shard set here; check the URL, or build it"):
        stats(str(tmp_path))
