"""Real runs of jobs/train.py in processes of their own, to be disturbed and compared."""

import os
import re
import subprocess
import sys
import time
from pathlib import Path

import pytest

from retdm.train.history import kept_checkpoints
from tests.system.test_coco_to_result import ROOT, SETTINGS

STEPS_PER_EPOCH = 3


def command(shards, storage, name, *settings, workers="2"):
    """The words after `python` that train a deterministic run on small images."""
    pairs = [f"data.url={shards}", *SETTINGS, "run.deterministic=true", *settings]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", storage, "--run-name", name, "--workers", workers)
    return ["jobs/train.py", str(ROOT / "jobs/recipes/demo.toml"), *overrides, *run]


def start(words, log, *, ray="local", **env):
    """Begin the program `words`, its output going to the open file `log`.

    Args:
        words: As `command` gives them.
        log: Open file for its output.
        ray: Address of the cluster. Without any, Ray joins whichever runs on this machine, and be
            it a stranger's.
        env: More variables.
    """
    everything = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "HOME": str(Path.home()),
        "RAY_ADDRESS": ray,
        "RAY_memory_monitor_refresh_ms": "0",  # whatever else fills this machine's memory
        **env,
    }
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
    for _ in range(9000):
        if newest(store) >= step:
            return newest(store)
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    pytest.fail(f"no checkpoint at step {step} in 900 s")


def reached(text):
    """The last step that a run told of in its first stage, if it does of each."""
    told = re.findall(r"stage 1 epoch (\d+)/\d+ \[.*\] (\d+)/\d+ batch", text)
    return max((int(epoch) - 1) * STEPS_PER_EPOCH + int(batch) for epoch, batch in told)


def seen(log, text, driver):
    """Wait for a text in the log; return when it was there."""
    while text not in Path(log.name).read_text():
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    return time.monotonic()


def finish(driver, log, within_s=1200):
    """Wait until the program ends well."""
    assert driver.wait(within_s) == 0, Path(log.name).read_text()[-4000:]
