"""What of a job's output is shown."""

import sys

import job
import pytest
from job import shown


@pytest.mark.parametrize(
    ("line", "wanted"),
    [
        ("epoch 1\n", "epoch 1\n"),
        ("\x1b[36m(RayTrainWorker pid=21726)\x1b[0m epoch 1\n", "epoch 1\n"),
        ("(RayTrainWorker pid=7, ip=10.0.0.2) epoch 1\n", "epoch 1\n"),
        ("(pid 7) is mine\n", "(pid 7) is mine\n"),
        ("2026-01-31 10:00:00,123\tINFO worker.py:1691 -- Using address\n", None),
        ("2026-01-31 10:00:00,123\tWARNING worker.py:1 -- Low on disk\n",) * 2,
        ("(TrainController pid=1) [2026-01-31 10:00:00,600 E 214 215] core_worker.cc\n", None),
        ("Running entrypoint for job raysubmit_x: python jobs/train.py\n", None),
        ("(RayTrainWorker pid=7) Reporting training result 3: TrainingReport(...)\n", None),
        ("", ""),
    ],
)
def test_remarks_of_ray_are_left_out(line, wanted):
    assert shown(line) == wanted


EARLY = """\
2026-01-31 10:00:00,123 INFO cli.py:339 -- Request the job to be stopped:
2026-01-31 10:00:00,124 INFO cli.py:341 -- ray job stop raysubmit_x
2026-01-31 10:00:00,125 INFO cli.py:351 -- Tailing logs until the job exits (disable with ...):
the job's first line
Running entrypoint for job raysubmit_x: python program.py
the job's second line
2026-01-31 10:00:09,001 SUCC cli.py:67 -- Job 'raysubmit_x' succeeded
"""


def test_output_that_comes_before_the_command_is_shown_too(tmp_path, monkeypatch, capfd):
    monkeypatch.setattr(job, "RAY", [sys.executable, "-c", f"print({EARLY!r}, end='')"])
    log = tmp_path / "log"
    assert job.submit(["x"], working_dir=tmp_path, env={}, log=log, limit_s=60) == 0
    assert capfd.readouterr().out == "the job's first line\nthe job's second line\n"
    assert log.read_text() == EARLY
