"""A dry run tells what a run would do, finds what would end it, and changes nothing."""

import json
import shutil
from pathlib import Path

import pytest

from retdm.data.manifest import load_manifest
from retdm.errors import CheckpointError, ShardError, StorageError
from retdm.methods import build_method
from retdm.onray.dry_run import describe_run
from retdm.onray.run_record import prepare, run_record
from retdm.onray.workers import Workers
from retdm.storage import open_store
from tests.checkpoints import publish_epoch
from tests.train.conftest import settings

TWO = Workers(2, 2)


def _told(config, run, *, workers=TWO, resume="auto"):
    return describe_run(config, url=str(run), workers=workers, resume=resume)


def _begin(config, run):
    """What `jobs/train.py` notes before it trains."""
    manifest = load_manifest(open_store(config.data.url))
    method = build_method(config, len(manifest.labels), load_weights=False)
    prepare(open_store(str(run)), run_record(config, manifest, method), "auto")


def _files(folder):
    return {path: path.stat().st_mtime_ns for path in Path(folder).rglob("*")}


def test_settings_data_steps_resources_and_the_runs_state_are_told(shards, tmp_path):
    before = _files(shards)
    lines = _told(settings(shards, "stages.1.epochs=3"), tmp_path / "run")
    manifest = load_manifest(open_store(shards))
    train = manifest.splits["train"].samples
    files = sum(1 + 2 * len(split.shards) for split in manifest.splits.values())
    for line in (
        "settings:",
        "  data.batch_size = 16",
        f'  data.url = "{shards}"',
        f"data: {manifest.name}, {len(manifest.labels)} labels, {train} training images; "
        f"all {files} files are there",
        "batch: 16 images over 2 workers, 8 each",
        "asks Ray for: 2 workers, each 1 CPU and 1 GPU if the cluster has 2 (run.gpus)",
        f"run: {tmp_path}/run can be read, and begins; whether it can be written is NOT CHECKED",
    ):
        assert line in lines
    [stage] = [line for line in lines if line.startswith("stage 1: ")]
    assert f"3 epochs, {3 * -(-train // 16)} steps" in stage
    assert not (tmp_path / "run").exists()
    assert _files(shards) == before


def test_a_range_of_workers_settles_the_micro_batches(shards, tmp_path):
    lines = _told(settings(shards), tmp_path / "run", workers=Workers(1, 4))
    assert "  run.micro_batches = 4" in lines


def test_a_begun_run_goes_on(shards, tmp_path):
    config = settings(shards)
    _begin(config, tmp_path)
    publish_epoch(open_store(str(tmp_path)), "1", 1)
    before = _files(tmp_path)
    assert (
        f"run: {tmp_path} can be read, and goes on from stage 1 epoch 1; "
        in _told(config, tmp_path)[-1]
    )
    assert _files(tmp_path) == before


def test_a_finished_run_would_not_be_trained(shards, tmp_path):
    config = settings(shards)
    _begin(config, tmp_path)
    publish_epoch(open_store(str(tmp_path)), "1", 1)
    shutil.copy(tmp_path / "run.json", tmp_path / "result.json")
    assert "and is finished: nothing would be trained" in _told(config, tmp_path)[-1]


def test_a_run_of_other_settings_is_refused_as_by_the_run_itself(shards, tmp_path):
    _begin(settings(shards), tmp_path)
    publish_epoch(open_store(str(tmp_path)), "1", 1)
    with pytest.raises(CheckpointError, match=r"other settings \(loss\.k: 3 -> 4\)"):
        _told(settings(shards, "loss.k=4"), tmp_path)
    with pytest.raises(CheckpointError, match="a run of this name exists"):
        _told(settings(shards), tmp_path, resume="never")


def test_files_that_the_manifest_names_and_are_gone_are_counted_and_one_is_named(shards, tmp_path):
    copied = tmp_path / "shards"
    shutil.copytree(shards, copied)
    (copied / "train/000000.tar").unlink()
    (copied / "train/labels.parquet").unlink()
    message = (
        rf"{copied}: 2 files of \d+ in the manifest missing, first train/000000\.tar; "
        "upload what is missing, or build the shard set anew"
    )
    with pytest.raises(ShardError, match=message):
        _told(settings(str(copied)), tmp_path / "run")


def test_without_data_the_rest_is_checked_and_what_was_not_is_said(shards, tmp_path):
    lines = _told(settings(shards, "data.url="), tmp_path / "run")
    assert "data: NOT CHECKED, data.url is empty; assuming 80 labels" in lines
    assert "but not compared with an earlier one without data.url" in lines[-1]
    assert "? steps" in next(line for line in lines if line.startswith("stage 1: "))


@pytest.mark.parametrize("what", ["storage", "data"])
def test_storage_or_data_that_cannot_be_reached_is_an_error(what, shards, tmp_path, monkeypatch):
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:1")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "0.2")
    url, run = (shards, "s3://b/run") if what == "storage" else ("s3://b/data", tmp_path / "run")
    with pytest.raises(StorageError, match=r"s3://b/.*: cannot reach http://127\.0\.0\.1:1 "):
        _told(settings(url), run)
    assert not (tmp_path / "run").exists()


def test_settings_are_told_as_json_so_that_types_show(shards, tmp_path):
    lines = _told(settings(shards), tmp_path / "run")
    told = dict(
        line.strip().split(" = ", 1) for line in lines if line.startswith("  ") and " = " in line
    )
    assert json.loads(told["data.cache_dir"]) == ""
    assert json.loads(told["run.deterministic"]) is False
