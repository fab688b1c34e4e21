"""A worker, then the driver of a run with a Ray of its own are killed; it ends as one untouched.

`test_chaos.py` does the same on a cluster, at every level, in every run of the tests.
"""

import os
import random
import signal

import pytest

from retdm.storage import join_url, open_store
from tests.conftest import long
from tests.system.killing import workers
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import shards
from tests.system.training import command, finish, reach, start

__all__ = ["shards"]
pytestmark = [long, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]
OWN = (
    "run.max_failures=9",
    "checkpoint.every_steps=2",
    "stages.1.epochs=4",
    "stages.3.epochs=3",
)


def test_a_killed_worker_and_a_killed_driver_change_nothing(s3, shards, tmp_path):
    storage, draw = s3.url("killed"), random.Random(4)
    with (tmp_path / "whole.log").open("w") as log:
        finish(start(command(shards, storage, "whole", *OWN), log), log)
    store, cut = open_store(join_url(storage, "cut")), command(shards, storage, "cut", *OWN)
    with (tmp_path / "cut.log").open("w") as log:
        driver = start(cut, log)
        at = reach(store, draw.randint(2, 5), driver, log)
        victims = workers(driver.pid)
        assert len(victims) == 2
        os.kill(draw.choice(victims), signal.SIGKILL)
        reach(store, at + draw.randint(2, 6), driver, log)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait(60)
        finish(start(cut, log), log)
    text = (tmp_path / "cut.log").read_text()
    assert text.count("resuming after step") >= 2, text[-3000:]
    assert_same_end(end_of(storage, "cut"), end_of(storage, "whole"))
