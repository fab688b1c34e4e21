"""Processes of a real run are killed while it trains; it ends as the run that nobody touched."""

import os
import random
import signal
from pathlib import Path

import pytest

from retdm.storage import join_url, open_store
from tests.system.test_coco_to_result import shards
from tests.system.training import assert_same_end, command, finish, reach, start

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]
OWN = (
    "run.max_failures=9",
    "checkpoint.every_steps=2",
    "stages.1.epochs=4",
    "stages.3.epochs=3",
)


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


def test_a_killed_worker_and_a_killed_driver_change_nothing(s3, shards, tmp_path):
    storage, draw = s3.url("killed"), random.Random(4)
    with (tmp_path / "whole.log").open("w") as log:
        finish(start(command(shards, storage, "whole", *OWN), log), log)
    store, cut = open_store(join_url(storage, "cut")), command(shards, storage, "cut", *OWN)
    with (tmp_path / "cut.log").open("w") as log:
        driver = start(cut, log)
        at = reach(store, draw.randint(2, 5), driver, log)
        victims = _workers(driver)
        assert len(victims) == 2
        os.kill(draw.choice(victims), signal.SIGKILL)
        reach(store, at + draw.randint(2, 6), driver, log)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(60)
        finish(start(cut, log), log)
    text = (tmp_path / "cut.log").read_text()
    assert text.count("resuming after step") >= 2, text[-3000:]
    assert_same_end(storage, "cut", "whole")
