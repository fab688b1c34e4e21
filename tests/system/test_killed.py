"""Processes of a real run are killed while it trains; it ends as the run that nobody touched."""

import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from retdm.storage import join_url, open_store
from retdm.train.history import checkpoint_name, kept_checkpoints
from retdm.train.restore import load_checkpoint
from tests.system.test_coco_to_result import ROOT, SETTINGS, shards

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]
TIMINGS = {"images_per_s", "wait_share"}
OWN = (
    "run.deterministic=true",
    "run.max_failures=9",
    "checkpoint.every_steps=2",
    "stages.1.epochs=4",
    "stages.3.epochs=3",
)


def _start(shards, storage, name, log):
    pairs = [f"data.url={shards}", *SETTINGS, *OWN]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", storage, "--run-name", name, "--workers", "2")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(Path.home())}
    recipe = str(ROOT / "jobs/recipes/demo.toml")
    return subprocess.Popen(
        [sys.executable, "jobs/train.py", recipe, *overrides, *run],
        cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def _workers(driver):
    """Process numbers of the run's Ray Train workers, which belong to the driver's session."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            name = stat.read_text().rpartition(")")[0]
            command = (stat.parent / "cmdline").read_bytes()
        except OSError:
            continue
        if b"RayTrainWorker" in command and _descends(int(name.split()[0]), driver.pid):
            found.append(int(name.split()[0]))
    return sorted(found)


def _descends(pid, ancestor):
    while pid > 1:
        if pid == ancestor:
            return True
        try:
            pid = int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
        except OSError:
            return False
    return False


def _reach(store, step, driver, log):
    """Wait until the run has a checkpoint at `step` or later."""
    for _ in range(3000):
        kept = kept_checkpoints(store)
        if kept and kept[-1].step >= step:
            return kept[-1].step
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    pytest.fail(f"no checkpoint at step {step} in 300 s")


def _finish(driver, log):
    assert driver.wait(400) == 0, Path(log.name).read_text()[-4000:]


def _end(store):
    result = json.loads(store.read("result.json"))
    history = [{k: v for k, v in entry.items() if k not in TIMINGS} for entry in result["history"]]
    state = load_checkpoint(store, checkpoint_name(store, "latest"), torch.device("cpu"))
    return state, history, result["metrics"]


def test_a_killed_worker_and_a_killed_driver_change_nothing(s3, shards, tmp_path):
    storage, draw = s3.url("killed"), random.Random(4)
    with (tmp_path / "whole.log").open("w") as log:
        _finish(_start(shards, storage, "whole", log), log)
    store = open_store(join_url(storage, "cut"))
    with (tmp_path / "cut.log").open("w") as log:
        driver = _start(shards, storage, "cut", log)
        at = _reach(store, draw.randint(2, 5), driver, log)
        victims = _workers(driver)
        assert len(victims) == 2
        os.kill(draw.choice(victims), signal.SIGKILL)
        _reach(store, at + draw.randint(2, 6), driver, log)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(60)
        _finish(_start(shards, storage, "cut", log), log)
    text = (tmp_path / "cut.log").read_text()
    assert text.count("resuming after step") >= 2, text[-3000:]
    whole, cut = _end(open_store(join_url(storage, "whole"))), _end(store)
    assert whole[1] == cut[1]
    assert whole[2] == cut[2]
    for part in ("model", "bank"):
        torch.testing.assert_close(getattr(cut[0], part), getattr(whole[0], part), rtol=0, atol=0)
