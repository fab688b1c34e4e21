"""The whole way: COCO JSON, shards on a real S3 server, two Ray Train workers, result.json."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retdm.storage import join_url, open_store

ROOT = Path(__file__).resolve().parents[2]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(600)]
SETTINGS = (
    "model.backbone=mobilenet_v3_small",
    "data.batch_size=16",
    "data.image_size=32",
    "loss.k=3",
    "bank.size=32",
    "bank.warmup_steps=0",
    "stages.*.epochs=1",
)


def _python(*arguments, check=True):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(Path.home())}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=env, capture_output=True, text=True, timeout=500,
    )  # fmt: skip
    assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-5000:]
    return done


@pytest.fixture(scope="module")
def shards(s3, tmp_path_factory):
    """64 rendered scenes with a COCO instances file, packed onto the S3 server."""
    photos, url = tmp_path_factory.mktemp("photos"), s3.url("scenes")
    size = ("--images", "64", "--size", "48")
    _python("-m", "retdm.datasets.synthetic", "--out", str(photos), *size)
    assert list(photos.rglob("instances_*.json"))
    options = ("--set", "options.images=64", "--set", "options.size=48")
    options += ("--set", "shards.samples=10")
    spec = str(ROOT / "shards/synthetic.toml")
    _python(
        "-m", "retdm.shard", "build", spec, "--source", str(photos), "--out", url, *options
    )  # fmt: skip
    _python("-m", "retdm.shard", "verify", url)
    return url


def _train(shards, storage, *arguments, check=True, settings=()):
    pairs = [f"data.url={shards}", *SETTINGS, *settings]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    recipe = str(ROOT / "jobs/recipes/demo.toml")
    run = ("--storage", storage, "--run-name", "first", "--workers", "2")
    return _python("jobs/train.py", recipe, *overrides, *run, *arguments, check=check)


@pytest.fixture(scope="module")
def finished(s3, shards):
    """Storage URL and result of a finished two-worker run."""
    storage = s3.url("runs")
    done = _train(shards, storage)
    store = open_store(join_url(storage, "first"))
    return storage, store, json.loads(store.read("result.json")), done


def test_the_result_is_on_storage_and_printed(finished):
    _, store, result, done = finished
    assert result["world_size"] == 2
    assert [entry["stage"] for entry in result["history"]] == ["1", "2", "3"]
    assert 0 < result["metrics"]["test"]["mAP"] <= 1
    assert f"{result['metrics']['test']['mAP']:.4f}" in done.stdout
    assert "stage 3 epoch 1/1" in done.stdout + done.stderr
    assert "TrainingReport(" not in done.stdout + done.stderr
    names = set(store.names())
    assert {"result.json", "run.json", "log.jsonl", "checkpoints.json"} <= names
    assert any(name.startswith("tensorboard/") for name in names)


def test_only_the_best_and_the_last_two_checkpoints_are_kept(finished):
    _, store, result, _ = finished
    kept = {name.split("/")[1].removesuffix(".pt") for name in store.names("checkpoints/")}
    # The last one, the one before it, and the best one.
    last = {entry["checkpoint"] for entry in result["history"][-2:]}
    assert kept == last | {result["checkpoint"]}


def test_evaluating_the_run_alone_gives_the_same_numbers(finished, tmp_path):
    storage, _, result, _ = finished
    out = tmp_path / "metrics.json"
    _python("-m", "retdm.evaluate", f"{storage}/first", "--split", "test", "--json", str(out))
    metrics = json.loads(out.read_text())["metrics"]
    assert metrics == pytest.approx(result["metrics"]["test"], abs=1e-6)


def test_a_finished_run_is_not_trained_again(finished, shards):
    storage, store, result, _ = finished
    done = _train(shards, storage, "--resume", "must")
    assert "is finished" in done.stderr
    assert json.loads(store.read("result.json")) == result


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        (["--resume", "never"], [], "a run of this name exists"),
        ([], ["loss.lambda1=0.25"], "started with other settings (loss.lambda1: 0.5 -> 0.25)"),
    ],
)
def test_a_name_in_use_is_refused(finished, shards, arguments, settings, message):
    done = _train(shards, finished[0], *arguments, check=False, settings=settings)
    assert (done.returncode, message in done.stderr) == (2, True), done.stderr


def test_more_epochs_continue_from_the_last_checkpoint(finished, shards):
    storage, store, result, _ = finished
    _train(shards, storage, "--resume", "must", settings=["stages.3.epochs=2"])
    longer = json.loads(store.read("result.json"))
    assert longer["history"][:3] == result["history"]
    assert [entry["checkpoint"] for entry in longer["history"][3:]] == ["stage3-epoch002"]


def test_a_damaged_shard_ends_the_run_with_its_name(s3, shards, tmp_path):
    bucket, _, prefix = shards.removeprefix("s3://").partition("/")
    key = f"{prefix}/train/000001.tar"
    whole = s3.client().get_object(Bucket=bucket, Key=key)["Body"].read()
    s3.client().put_object(Bucket=bucket, Key=key, Body=whole[:5000] + b"x" + whole[5001:])
    try:
        # A cache of its own: the node's holds the undamaged shard from earlier runs.
        cache = [f"data.cache_dir={tmp_path}"]
        done = _train(shards, s3.url("runs"), check=False, settings=cache)
    finally:
        s3.client().put_object(Bucket=bucket, Key=key, Body=whole)
    assert done.returncode == 2, done.stderr[-4000:]
    errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert any("000001.tar" in line for line in errors)
