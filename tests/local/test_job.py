"""What of a job's output is shown."""

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
        ("(RayTrainWorker pid=7) Reporting training result 3: TrainingReport(...)\n", None),
        ("", ""),
    ],
)
def test_remarks_of_ray_are_left_out(line, wanted):
    assert shown(line) == wanted
