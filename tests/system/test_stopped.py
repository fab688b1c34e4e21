"""`ray job stop` and Ctrl-C end a run behind a checkpoint; the same job goes on from there."""

import os
import shlex
import signal
import sys
import time
from pathlib import Path

import pytest
import ray_head
from ray.job_submission import JobStatus, JobSubmissionClient

from retdm.storage import join_url, open_store
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import ROOT, shards
from tests.system.training import (
    STEPS_PER_EPOCH,
    command,
    newest,
    reach,
    reached,
    start,
)

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(3600)]
OWN = ("stages.1.epochs=8", "run.log_every_steps=1", "data.loader_workers=0")
GRACE_S = int(os.environ.get("RETDM_TEST_STOP_GRACE_S", "120"))
"""Ray's own is 3: enough on a machine that does nothing else, which a test cannot count on."""


@pytest.fixture(scope="module")
def jobs(s3, tmp_path_factory):
    """What `ray job submit`, `logs` and `stop` use, for a head on this machine."""
    folder = tmp_path_factory.mktemp("head")
    env = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "RAY_JOB_STOP_WAIT_TIME_S": str(GRACE_S),
        "RAY_memory_monitor_refresh_ms": "0",  # whatever else fills this machine's memory
    }
    client = ray_head.start(folder, num_cpus=4, auth="disabled", env=env, tied=True)
    yield JobSubmissionClient(client["RAY_API_SERVER_ADDRESS"])
    ray_head.stop(folder)


def _submit(jobs, words):
    entrypoint = shlex.join([sys.executable, str(ROOT / words[0]), *words[1:]])
    for _ in range(30):
        try:
            return jobs.submit_job(entrypoint=entrypoint)
        except RuntimeError:  # the head answers before its agent is there
            time.sleep(2)
    pytest.fail("the head takes no jobs")


def _ended(jobs, job):
    """How the job ended, and its output."""
    for _ in range(12000):
        status = jobs.get_job_status(job)
        if status.is_terminal():
            return status, jobs.get_job_logs(job)
        time.sleep(0.1)
    pytest.fail(jobs.get_job_logs(job)[-3000:])


def test_a_stopped_job_has_a_checkpoint_of_its_last_step_and_goes_on(s3, shards, jobs, capsys):
    storage = s3.url("stopped")
    store = open_store(join_url(storage, "cut"))
    cut = command(shards, storage, "cut", *OWN)
    job = _submit(jobs, cut)
    while newest(store) < STEPS_PER_EPOCH:
        assert not jobs.get_job_status(job).is_terminal(), jobs.get_job_logs(job)[-3000:]
        time.sleep(0.1)
    begun = time.monotonic()
    assert jobs.stop_job(job)
    status, text = _ended(jobs, job)
    took_s = time.monotonic() - begun
    stopped = newest(store)
    with capsys.disabled():
        print(f"\nstopped behind step {stopped}, {took_s:.1f} s after `ray job stop`")
    assert status is JobStatus.STOPPED
    last = f"stopped by SIGTERM at step {stopped}; the checkpoint is written; the same command "
    assert last in text, text[-3000:]
    assert STEPS_PER_EPOCH <= reached(text) <= stopped
    status, text = _ended(jobs, _submit(jobs, cut))
    assert status is JobStatus.SUCCEEDED, text[-3000:]
    assert f"resuming after step {stopped}" in text
    status, text = _ended(jobs, _submit(jobs, command(shards, storage, "whole", *OWN)))
    assert status is JobStatus.SUCCEEDED, text[-3000:]
    assert_same_end(end_of(storage, "cut"), end_of(storage, "whole"))


def test_ctrl_c_ends_a_run_of_its_own_ray_behind_a_checkpoint(s3, shards, tmp_path):
    storage = s3.url("interrupted")
    store, words = open_store(join_url(storage, "run")), command(shards, storage, "run", *OWN)
    with (tmp_path / "log").open("w") as log:
        driver = start(words, log)
        reach(store, STEPS_PER_EPOCH, driver, log)
        os.killpg(driver.pid, signal.SIGINT)  # as a terminal does
        assert driver.wait(600) == 130
        text = Path(log.name).read_text()
        assert f"stopped by SIGINT at step {newest(store)}; the checkpoint is written" in text
        assert reached(text) <= newest(store)
