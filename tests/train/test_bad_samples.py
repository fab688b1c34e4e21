"""A run on a shard set that was damaged after it was built."""

import json
import shutil

import numpy as np
import pytest
import torch

from retdm import console
from retdm.data.bad import BadSamples
from retdm.data.split import open_split
from retdm.errors import BadSampleError
from retdm.methods import build_method
from retdm.storage import open_store
from retdm.train import checkpoint
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.scoring import score_split
from retdm.train.session import LocalSession
from tests.train.conftest import settings

pytestmark = pytest.mark.slow


def _damage(url, split, row):
    """Overwrite an image with zeros; returns its key."""
    data = open_split(url, split)
    offset, size = data.table.offsets[row], data.table.sizes[row]
    shard = np.repeat(np.arange(len(data.shard_sizes)), data.shard_sizes)[row]
    with open(f"{url}/{data.info.shards[shard].name}", "r+b") as tar:
        tar.seek(offset)
        tar.write(bytes(size))
    return data.table.keys[row]


@pytest.fixture
def damaged(shards, tmp_path):
    """A set with one bad image in each split, and their keys."""
    url = str(shutil.copytree(shards, tmp_path / "set"))
    return url, {split: _damage(url, split, 3) for split in ("train", "val", "test")}


def test_the_result_lists_what_was_replaced_or_left_out(damaged, tmp_path, capsys):
    from retdm.evaluate import main

    url, keys = damaged
    config = settings(url, "method=bce", "data.max_bad_samples=3")
    root = tmp_path / "run"
    run = train(config, LocalSession(), open_store(str(root)))
    result = conclude(run)
    assert {(bad["split"], bad["key"]) for bad in result["bad_samples"]} == set(keys.items())
    assert all("sha256" in bad["reason"] for bad in result["bad_samples"])
    assert all(bad["shard"].startswith(bad["split"]) for bad in result["bad_samples"])
    # Known at the end of the first epoch, which is where a resumed run starts from.
    assert [entry["bad_samples"] for entry in result["history"]] == [2, 2]
    state = checkpoint.load(root / checkpoint.file_of(result["checkpoint"]))
    assert {bad["split"] for bad in state.bad_samples} == {"train", "val"}
    report = tmp_path / "report.json"
    assert console.run(lambda: main([str(root), "--json", str(report)])) == 0
    listed = json.loads(report.read_text())
    assert listed["images"] == len(open_split(url, "test")) - 1
    assert [bad["key"] for bad in listed["bad_samples"]] == [keys["test"]]
    assert listed["metrics"] == result["metrics"]["test"]


def _scored(rank, url, limit):
    config = settings(url)
    data, bad = open_split(url, "test"), BadSamples(limit)
    method = build_method(config, labels=len(data.label_space))
    try:
        scores, targets = score_split(method, data, config.data, torch.device("cpu"), bad=bad)
    except BadSampleError as error:
        return str(error)
    return scores.shape == targets.shape, len(targets), bad.to_tables()


def test_every_rank_knows_the_bad_images_of_all(damaged, ranks):
    url, keys = damaged
    other = _damage(url, "test", 9)
    first, second = ranks(2).run(_scored, url, 2)
    assert first == second
    assert first[:2] == (True, len(open_split(url, "test")) - 2)
    assert {bad["key"] for bad in first[2]} == {keys["test"], other}


def test_ranks_that_together_met_too_many_all_stop(damaged, ranks):
    url, _ = damaged
    _damage(url, "test", 9)
    first, second = ranks(2).run(_scored, url, 1)
    assert first == second
    assert "data.max_bad_samples, which is 1 (this run's bad image number 2)" in first
