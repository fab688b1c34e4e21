"""Real runs of jobs/train.py in processes of their own, to be disturbed."""

import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retdm.train.history import kept_checkpoints
from tests.system.test_coco_to_result import ROOT, SETTINGS


def command(shards, storage, name, *settings, workers="2"):
    """The words after `python` that train a deterministic run on small images."""
    pairs = [f"data.url={shards}", *SETTINGS, "run.deterministic=true", *settings]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", storage, "--run-name", name, "--workers", workers)
    return ["jobs/train.py", str(ROOT / "jobs/recipes/demo.toml"), *overrides, *run]


def start(words, log, **env):
    """Begin the program `words`, its output going to the open file `log`."""
    everything = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(Path.home()), **env}
    return subprocess.Popen(
        [sys.executable, *words],
        cwd=ROOT, env=everything, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def newest(store):
    """The step of the run's newest checkpoint; 0 without one."""
    kept = kept_checkpoints(store)
    return kept[-1].step if kept else 0


def reach(store, step, driver, log):
    """Wait until the run has a checkpoint at `step` or later; return its step."""
    for _ in range(3000):
        if newest(store) >= step:
            return newest(store)
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    pytest.fail(f"no checkpoint at step {step} in 300 s")


def seen(log, text, driver):
    """Wait for a text in the log; return when it was there."""
    while text not in Path(log.name).read_text():
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    return time.monotonic()


def finish(driver, log, within_s=400):
    """Wait until the program ends well."""
    assert driver.wait(within_s) == 0, Path(log.name).read_text()[-4000:]
