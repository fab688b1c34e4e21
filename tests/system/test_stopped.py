"""`ray job stop` and Ctrl-C end a run behind a checkpoint; the same command goes on from there."""

import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
import ray_head

from retdm.storage import join_url, open_store
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import ROOT, shards
from tests.system.training import command, finish, newest, reach, start

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
OWN = ("stages.1.epochs=12", "run.log_every_steps=1")
STEPS_PER_EPOCH = 3
GRACE_S = int(os.environ.get("RETDM_TEST_STOP_GRACE_S", "120"))
"""Ray's own is 3: enough on a machine that does nothing else, which a test cannot count on."""


@pytest.fixture(scope="module")
def head(s3, tmp_path_factory):
    """A local Ray head; the value is what its clients find in their environment."""
    folder = tmp_path_factory.mktemp("head")
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_S),
        "RAY_memory_monitor_refresh_ms": "0",  # whatever else fills this machine's memory
    }
    client = ray_head.start(folder, num_cpus=4, auth="disabled", env=env, tied=True)
    yield {**os.environ, **client}
    ray_head.stop(folder)


def _job(head, *words):
    done = subprocess.run(
        [*ray_head.RAY, "job", *words], env=head, capture_output=True, text=True, timeout=900
    )
    return done.stdout + done.stderr


def _submit(head, name, words, *options):
    words = [sys.executable, str(ROOT / words[0]), *words[1:]]
    return _job(head, "submit", "--submission-id", name, *options, "--", *words)


def _reached(text):
    """The last step that the run told of, in its first stage."""
    told = re.findall(r"stage 1 epoch (\d+)/\d+ \[.*\] (\d+)/\d+ batch", text)
    return max((int(epoch) - 1) * STEPS_PER_EPOCH + int(batch) for epoch, batch in told)


def test_a_stopped_job_has_a_checkpoint_of_its_last_step_and_goes_on(s3, shards, head, capsys):
    storage = s3.url("stopped")
    store = open_store(join_url(storage, "cut"))
    cut = command(shards, storage, "cut", *OWN)
    _submit(head, "cut-1", cut, "--no-wait")
    while newest(store) < STEPS_PER_EPOCH:
        status = _job(head, "status", "cut-1")
        assert "FAILED" not in status, status
    begun = time.monotonic()
    _job(head, "stop", "cut-1")
    took_s = time.monotonic() - begun
    text = _job(head, "logs", "cut-1")
    stopped = newest(store)
    with capsys.disabled():
        print(f"\n`ray job stop` returned after {took_s:.1f} s, checkpoint at step {stopped}")
    assert "was stopped" in _job(head, "status", "cut-1")
    last = f"stopped by SIGTERM at step {stopped}; the checkpoint is written; the same command "
    assert last in text, text[-3000:]
    assert STEPS_PER_EPOCH <= _reached(text) <= stopped
    again = _submit(head, "cut-2", cut)
    assert f"resuming after step {stopped}" in again, again[-3000:]
    _submit(head, "whole", command(shards, storage, "whole", *OWN))
    assert_same_end(end_of(storage, "cut"), end_of(storage, "whole"))


def test_ctrl_c_ends_a_run_of_its_own_ray_behind_a_checkpoint(s3, shards, tmp_path):
    storage = s3.url("interrupted")
    store, words = open_store(join_url(storage, "run")), command(shards, storage, "run", *OWN)
    with (tmp_path / "log").open("w") as log:
        driver = start(words, log)
        reach(store, STEPS_PER_EPOCH, driver, log)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        assert driver.wait(300) == 130
        text = Path(log.name).read_text()
        assert f"stopped by SIGINT at step {newest(store)}; the checkpoint is written" in text
        assert _reached(text) <= newest(store)
        finish(start(words, log), log)
