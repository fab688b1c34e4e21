"""`ray job submit --working-dir .` and the commands beside it do what cluster/RUNNING.md says."""

import os
import re
import subprocess
import sys
import time

import pytest
import ray_head

from tests.onray.conftest import shards
from tests.system.test_coco_to_result import ROOT, SETTINGS

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1200)]
WAITS = ["python", "-c", "print('I wait', flush=True); __import__('time').sleep(900)"]


@pytest.fixture(scope="module")
def ray(tmp_path_factory):
    """`ray("job", "status", ...)`: the program, for a head that asks for a token.

    The head does not see the checkout, so what its jobs import has been sent.
    """
    folder = tmp_path_factory.mktemp("head")
    env = {name: os.environ[name] for name in os.environ if name != "PYTHONPATH"}
    env |= {"RAY_memory_monitor_refresh_ms": "0"}
    client = ray_head.start(folder, num_cpus=2, env=env, tied=True)

    def begin(*words):
        return subprocess.Popen(
            [*ray_head.RAY, *words], cwd=ROOT, env=env | client, text=True,
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
        )  # fmt: skip

    def run(*words):
        with begin(*words) as process:
            said = process.communicate(timeout=600)[0]
        return process.returncode, said

    run.begin = begin
    yield run
    ray_head.stop(folder)


def _submit(ray, *words, options=()):
    # By this very interpreter: its folder may not be the first that the head's PATH names.
    words = [sys.executable if word == "python" else word for word in words]
    return ray("job", "submit", *options, "--working-dir", ".", "--", *words)


def _train(shards, storage, *more):
    pairs = [f"data.url={shards}", "data.loader_workers=0", *SETTINGS]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", str(storage), "--run-name", "sent")
    return ["python", "jobs/train.py", "jobs/recipes/demo.toml", *overrides, *run, *more]


def test_a_job_runs_what_was_sent(ray):
    status, said = _submit(ray, "python", "-c", "import retdm; print('of', retdm.__file__)")
    assert status == 0, said
    assert re.search(
        r"^of .*/runtime_resources/working_dir_files/\S+/retdm/__init__.py", said, re.M
    )


def test_bad_input_fails_the_job_with_its_line_and_the_programs_status_2(ray):
    words = ("python", "jobs/train.py", "jobs/recipes/demo.toml", "--set", "bank.sise=3")
    status, said = _submit(ray, *words, options=("--submission-id", "wrong"))
    assert status == 1, said
    assert "demo.toml: unknown setting bank.sise; did you mean bank.size?\n" in said
    assert "Traceback" not in said
    assert "failed with exit code 2" in said
    status, said = ray("job", "list")
    assert re.search(r"submission_id='wrong'.*?driver_exit_code=2\b", said, re.S), said
    assert ray("job", "logs", "-f", "wrong")[0] == 0
    # Each id once, also after a failure.
    status, said = _submit(ray, *words, options=("--submission-id", "wrong"))
    assert status == 1
    assert "already exists" in said


def test_a_job_that_is_not_waited_for_is_followed_by_its_logs_and_runs_once(ray, shards, tmp_path):
    words = _train(shards, tmp_path)
    status, said = _submit(ray, *words, options=("--no-wait", "--submission-id", "far"))
    assert status == 0, said
    status, said = ray("job", "logs", "-f", "far")
    assert status == 0
    for line in ("stage 3 epoch 1/1", f"result: {tmp_path}/sent/result.json"):
        assert line in said, said[-3000:]
    assert "SUCCEEDED" in ray("job", "status", "far")[1].upper()
    status, said = _submit(ray, *words)
    assert status == 0, said[-3000:]
    assert "run sent is finished" in said


def test_waiting_for_a_job_that_is_stopped_ends_with_0(ray):
    with ray.begin(
        "job", "submit", "--submission-id", "waits", "--working-dir", ".", "--",
        sys.executable, *WAITS[1:],
    ) as waiting:  # fmt: skip
        while ray("job", "status", "waits")[1].count("RUNNING") == 0:
            time.sleep(1)
        assert ray("job", "stop", "waits")[0] == 0
        said = waiting.communicate(timeout=300)[0]
    assert waiting.returncode == 0, said
    assert "STOPPED" in ray("job", "status", "waits")[1].upper()
