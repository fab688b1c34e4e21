"""Which resources a run asks for, and that they are told before it runs."""

import pytest

from retdm.config import Config, parse
from retdm.onray.asked import describe_asked, for_worker, wants_gpus
from retdm.onray.compare_run import concurrency_for
from retdm.onray.workers import Workers


def _config(gpus):
    table = {"run": {"gpus": gpus, "cpus_per_worker": 2}, "data": {"loader_workers": 3}}
    return parse(Config, table, source="test")


@pytest.mark.parametrize(
    ("gpus", "there", "wanted"),
    [
        ("auto", 4, True),
        ("auto", 3, False),
        ("required", 0, True),
        ("none", 8, False),
    ],
)
def test_gpus_are_asked_for_where_they_are_or_where_they_are_required(gpus, there, wanted):
    assert wants_gpus(_config(gpus), Workers(4, 8), there) is wanted


def test_a_worker_asks_for_its_cores_and_one_gpu():
    assert for_worker(_config("auto"), use_gpu=True) == {"CPU": 2.0, "GPU": 1}
    assert for_worker(_config("auto"), use_gpu=False) == {"CPU": 2.0}


@pytest.mark.parametrize(
    ("gpus", "told"),
    [
        ("auto", "4 to 8 workers, each 2 CPU and 1 GPU if the cluster has 4 (run.gpus)"),
        ("required", "4 to 8 workers, each 2 CPU and 1 GPU"),
        ("none", "4 to 8 workers, each 2 CPU, no GPU"),
    ],
)
def test_what_is_asked_for_is_told(gpus, told):
    assert describe_asked(_config(gpus), Workers(4, 8)) == [
        f"asks Ray for: {told}",
        "beside each worker: 3 loading processes (data.loader_workers), which Ray does not count",
    ]


def test_one_of_a_kind_is_told_as_one():
    config = parse(Config, {"data": {"loader_workers": 1}}, source="test")
    asked, beside = describe_asked(config, Workers(1, 1))
    assert asked.startswith("asks Ray for: 1 worker, each 1 CPU and ")
    assert beside.startswith("beside each worker: 1 loading process (")
    assert describe_asked(config, Workers(1, 2))[0].startswith("asks Ray for: 1 to 2 workers, ")


@pytest.mark.parametrize(("gpus", "fit"), [("auto", 1), ("required", 1), ("none", 4)])
def test_runs_at_a_time_share_the_gpus_where_they_ask_for_them(gpus, fit, monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 20.0, "GPU": 1.0})
    assert concurrency_for(_config(gpus), Workers(1, 1)) == fit
