"""A real search whose program is killed and stopped: no trial is lost, none is run twice."""

import json
import os
import re
import signal
import sys
from pathlib import Path

import pytest

from retdm.config import load_config
from retdm.storage import join_url, open_store
from retdm.train.history import kept_checkpoints
from retdm.tuning.database import FILE
from tests.conftest import long
from tests.system.test_coco_to_result import ROOT, SETTINGS, _python, shards
from tests.system.training import STEPS_PER_EPOCH, finish, reach, start

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(3600)]
RATES = (1e30, 0.02, 1e-9, 0.01)
"""Of stage 3, in the order in which they are tried; the first one cannot end well."""
TUNE = (
    f"tune.space.stages.3.lr={{choice={list(RATES)}}}",
    "tune.sampler=grid",
    "tune.reduction_factor=2",
    # Or a trial could be pruned between the step that a test waits for and the test's signal.
    "tune.grace_epochs=3",
    "stages.3.epochs=4",
    "data.loader_workers=0",
    "checkpoint.every_steps=1",
    "run.max_failures=0",
)
OWN_STEP = 2 * STEPS_PER_EPOCH + 1
"""Inside a trial's first epoch that counts; stages 1 and 2 have one each."""


def _command(shards, storage, *arguments):
    pairs = [f"data.url={shards}", *SETTINGS, *TUNE]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", storage, "--run-name", "lr", "--workers", "2", "--concurrency", "1")
    return ["jobs/tune.py", str(ROOT / "jobs/recipes/demo.toml"), *overrides, *run, *arguments]


def _trial(store, number):
    return open_store(join_url(store.url, "trials", f"{number:04d}"))


@pytest.mark.parametrize("kind", [pytest.param("folder", marks=long), "s3"])
def test_a_killed_search_goes_on_with_no_trial_lost_or_run_twice(kind, s3, shards, tmp_path):
    storage = s3.url("search") if kind == "s3" else str(tmp_path / "runs")
    store, words = open_store(join_url(storage, "lr")), _command(shards, storage)
    must = [*words, "--resume", "must"]
    with (tmp_path / "log").open("w") as log:
        driver = start(words, log)
        reach(_trial(store, 1), OWN_STEP, driver, log)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(60)
        begun = kept_checkpoints(_trial(store, 1))
        failed = _trial(store, 0).read("run.json")

        driver = start(must, log)
        reach(_trial(store, 2), OWN_STEP, driver, log)
        os.kill(driver.pid, signal.SIGTERM)
        assert driver.wait(120) == 143, Path(log.name).read_text()[-4000:]
        done = _trial(store, 1).read("result.json")
        stopped = kept_checkpoints(_trial(store, 2))[-1].step

        finish(start(must, log), log)
    text = (tmp_path / "log").read_text()
    # Its own lines; Ray's processes tell tracebacks of a busy machine.
    own = [line for line in text.splitlines() if not line.startswith("\x1b[36m(")]
    assert not any("Traceback" in line for line in own), "\n".join(own)[-5000:]
    resumed = [int(step) for step in re.findall(r"resuming after step (\d+)", text)]
    # The killed program's workers may have made some more steps, or all, before they ended.
    assert all(step >= begun[-1].step for step in resumed[:-1])
    assert resumed[-1] == stopped
    assert f"stopped by SIGTERM at step {stopped}; the checkpoint is written" in text

    found = json.loads(store.read("tune.json"))
    trials = found["trials"]
    assert [one["number"] for one in trials] == [0, 1, 2, 3]
    assert [one["params"]["stages.3.lr"] for one in trials] == list(RATES)
    assert trials[0]["state"] == "failed"
    assert "lower" in trials[0]["why"]
    assert "pruned" in [one["state"] for one in trials], trials
    assert {one["state"] for one in trials[1:]} <= {"complete", "pruned"}
    assert trials[1]["state"] == "complete"
    assert [step for step, _ in trials[1]["intermediate"]] == [1, 2, 3, 4]
    # What was over was not touched again.
    assert _trial(store, 0).read("run.json") == failed
    assert _trial(store, 1).read("result.json") == done
    assert store.size(FILE)
    # What is over keeps the checkpoint of its best epoch, unless it failed.
    for one in trials[1:]:
        assert len(list(_trial(store, one["number"]).names("checkpoints/"))) == 1
    begins = re.findall(r"^trial (\d) \(stages.3.lr = .*\): begins$", text, re.MULTILINE)
    assert begins == ["0", "1", "1", "2", "2", "3"]

    # The first stage was trained once, the test split seen once.
    assert text.count("stage 1 epoch 1/1: loss") == 1
    for one in trials:
        trial = _trial(store, one["number"])
        assert json.loads(trial.read("run.json"))["config"]["run"]["test"] is False
        if one["state"] == "complete":
            assert json.loads(trial.read("result.json"))["metrics"].keys() == {"val"}
    assert found["final"]["metrics"].keys() == {"test"}
    (best,) = found["best"]
    values = {one["number"]: one["values"]["mAP"] for one in trials if one["values"]}
    assert values[best] == max(values.values())
    assert found["shared_stage"]["saved_seconds"] > 0
    assert b"plotly" in store.read("tune.html")

    # The recipe of the best trains.
    recipe = tmp_path / "best.toml"
    recipe.write_bytes(store.read("best.toml"))
    assert load_config(recipe).stages["3"].lr == RATES[best]
    assert "stage 3" in _python("jobs/train.py", str(recipe), "--dry-run").stdout


def test_another_search_of_the_name_is_refused(shards, tmp_path):
    (tmp_path / "lr").mkdir()
    words = _command(shards, str(tmp_path))
    missed = _python(*words, "--resume", "must", check=False)
    assert missed.returncode == 2
    assert "no search of this name to go on with; check --storage" in missed.stderr
    assert sys.executable not in missed.stderr
    assert list((tmp_path / "lr").iterdir()) == []


@long
def test_a_search_that_loses_its_storage_ends_clearly_and_goes_on(faults, shards, tmp_path):
    storage = f"{shards}-searched"
    store = open_store(join_url(storage, "lr"))
    rates = f"--set=tune.space.stages.3.lr={{choice={list(RATES[:2])}}}"
    words = _command(shards, storage, rates)
    with (tmp_path / "log").open("w") as log:
        driver = start(words, log, RETDM_S3_PATIENCE_S="5", RETDM_S3_STALL_S="5")
        reach(_trial(store, 1), OWN_STEP, driver, log)
        faults.refuse()
        assert driver.wait(300) == 2, Path(log.name).read_text()[-4000:]
        faults.accept()
        text = Path(log.name).read_text()
        assert "no more trials are begun: " in text
        assert re.match(r"error: .*s3://tests/", text.splitlines()[-1]), text[-3000:]
        finish(start([*words, "--resume", "must"], log), log)
    trials = json.loads(store.read("tune.json"))["trials"]
    assert [one["state"] for one in trials] == ["failed", "complete"]
    assert "lower" in trials[0]["why"]
    assert [step for step, _ in trials[1]["intermediate"]] == [1, 2, 3, 4]


def test_trials_of_two_seeds_and_two_metrics_are_means_and_a_front(shards, tmp_path):
    two = ("tune.seeds=2", "tune.metrics=['mAP', 'hamming_loss']", "stages.3.epochs=1")
    words = _command(shards, str(tmp_path), *(f"--set={pair}" for pair in two))
    rates = f"--set=tune.space.stages.3.lr={{choice={list(RATES[1:3])}}}"
    told = _python(*words, rates, "--workers", "1", "--concurrency", "2").stdout
    store = open_store(str(tmp_path / "lr"))
    found = json.loads(store.read("tune.json"))
    assert [one["state"] for one in found["trials"]] == ["complete"] * 2
    for one in found["trials"]:
        assert one["runs"] == [f"trials/{one['number']:04d}-s{seed}" for seed in (0, 1)]
        runs = [json.loads(store.read(f"{run}/result.json")) for run in one["runs"]]
        assert [run["seed"] for run in runs] == [0, 1]
        for metric in ("mAP", "hamming_loss"):
            values = [run["metrics"]["val"][metric] for run in runs]
            assert one["values"][metric] == pytest.approx(sum(values) / 2)
    assert len(found["shared_stage"]["runs"]) == 2
    # Of several that none beats in both, none is chosen and tested.
    assert (found["final"] is None) == (len(found["best"]) > 1)
    assert len(found["best"]) >= 1
    assert "best" in told
    for number in found["best"]:
        name = "best.toml" if len(found["best"]) == 1 else f"best-{number:04d}.toml"
        assert store.size(name)
