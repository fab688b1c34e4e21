"""Real photos of three sources, packed and verified; skipped where they are not."""

from pathlib import Path

import pytest

from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.shard.stats import stats
from retdm.shard.verify import verify

SPECS = Path(__file__).parents[2] / "shards"

pytestmark = pytest.mark.slow


def packed(tmp_path, name, source, *overrides):
    spec, options = load_spec(SPECS / f"{name}.toml", overrides)
    build(spec, options, source=source, out=str(tmp_path / "out"))
    assert verify(str(tmp_path / "out")) == []
    return stats(str(tmp_path / "out"))


def test_scene_has_the_published_counts(shared_data, tmp_path):
    found = packed(tmp_path, "scene", shared_data / "scene")
    assert found["total"]["cardinality"] == 1.236
    assert found["total"]["label_sets"] == 20
    assert {k: v["samples"] for k, v in found["splits"].items()} == {
        **{"train": 1360, "val": 240},
        "test": 400,
    }
    shares = {k: v / 2000 for k, v in found["total"]["label_counts"].items()}
    assert shares == {
        **{"desert": 0.2045, "mountains": 0.229, "sea": 0.29},
        **{"sunset": 0.2325, "trees": 0.28},
    }


def test_mirflickr(shared_data, tmp_path):
    found = packed(
        *(tmp_path, "mirflickr25k", shared_data / "mirflickr2k"),
        *("options.images=images", "options.annotations=annotations"),
    )
    assert found["total"]["samples"] == 2000
    assert len(found["labels"]) == 24
    lists = shared_data / "mirflickr2k/annotations"
    for label, count in found["total"]["label_counts"].items():
        assert count == len((lists / f"{label}.txt").read_text().split()), label


def test_coco_with_listed_splits_and_empty_images(shared_data, tmp_path):
    found = packed(
        *(tmp_path, "coco2014", shared_data / "coco128", "options.images=images"),
        *("options.annotations=instances_train2017.json", "resize.short_side=128"),
    )
    assert len(found["labels"]) == 80
    assert found["labels"][:3] == ["person", "bicycle", "car"]
    assert (found["total"]["samples"], found["total"]["unlabelled"]) == (128, 2)
