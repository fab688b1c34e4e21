"""Runs of a real program that tests interfere with: their processes, how far they are, their end.

`jobs/train.py` is started as users start it; its processes are found in /proc among the
descendants of processes that the test has started.
"""

import json
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest
import torch

from retdm.train.history import checkpoint_name, kept_checkpoints
from retdm.train.restore import load_checkpoint
from tests.system.test_coco_to_result import ROOT, SETTINGS

TIMINGS = {"images_per_s", "wait_share"}


def start(shards, storage, name, log, settings, env=()):
    """The program that trains run `name` with two workers, in a session of its own."""
    pairs = [f"data.url={shards}", *SETTINGS, *settings]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", storage, "--run-name", name, "--workers", "2")
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(Path.home()), **dict(env)}
    recipe = str(ROOT / "jobs/recipes/demo.toml")
    return subprocess.Popen(
        [sys.executable, "jobs/train.py", recipe, *overrides, *run],
        cwd=ROOT, env=env, stdout=log, stderr=subprocess.STDOUT, start_new_session=True,
    )  # fmt: skip


def descendants(*ancestors):
    """Command line by process number of all descendants of these processes, and their parents."""
    parents, commands = {}, {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            number, _, rest = stat.read_text().partition(" (")
            parents[int(number)] = int(rest.rpartition(")")[2].split()[1])
            commands[int(number)] = (stat.parent / "cmdline").read_bytes()
        except OSError:  # it has ended
            continue
    found, size = set(ancestors), 0
    while size != len(found):
        size = len(found)
        found |= {pid for pid, parent in parents.items() if parent in found}
    return {
        pid: (commands[pid], parents[pid])
        for pid in sorted(found - set(ancestors))
        if pid in commands
    }


def workers(*ancestors):
    """Process numbers of the run's Ray Train workers."""
    found = descendants(*ancestors).items()
    return [pid for pid, (command, _) in found if b"ray::RayTrainWorker" in command]


def controllers(*ancestors):
    """Process number of the run's Ray Train controller, in a list."""
    found = descendants(*ancestors).items()
    return [pid for pid, (command, _) in found if b"ray::TrainController" in command]


def loader_processes(*ancestors):
    """Process numbers of the DataLoader processes, which the workers' fork servers have forked."""
    found = descendants(*workers(*ancestors))
    servers = {
        pid for pid, (command, _) in found.items() if b"multiprocessing.forkserver" in command
    }
    return [pid for pid in sorted(servers) if found[pid][1] in servers]


def reach(store, step, driver, log):
    """Wait until the run has a checkpoint at `step` or later."""
    for _ in range(3000):
        kept = kept_checkpoints(store)
        if kept and kept[-1].step >= step:
            return kept[-1].step
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    pytest.fail(f"no checkpoint at step {step} in 300 s")


def finish(driver, log):
    """Wait until the program has ended well."""
    assert driver.wait(3000) == 0, Path(log.name).read_text()[-4000:]


def end(store):
    """What a run leaves: its last state, its history without timings, and its metrics."""
    result = json.loads(store.read("result.json"))
    history = [{k: v for k, v in entry.items() if k not in TIMINGS} for entry in result["history"]]
    state = load_checkpoint(store, checkpoint_name(store, "latest"), torch.device("cpu"))
    return state, history, result["metrics"]
