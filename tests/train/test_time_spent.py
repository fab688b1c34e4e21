"""Where the time of a run went, in its result."""

import json

import pytest

from retdm.methods import Clock
from retdm.methods.clock import PARTS
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from retdm.train.time_spent import mean_seconds, time_spent
from tests.train.conftest import settings


def _mean(rank):
    return mean_seconds(Clock({"data": 2.0 * rank, "gather": 1.0}))


def test_seconds_are_the_mean_over_ranks(ranks):
    for mean in ranks(2).run(_mean):
        assert mean["data"] == pytest.approx(1.0)
        assert mean["gather"] == pytest.approx(1.0)


def test_shares_add_up_to_one_and_every_part_is_in_one():
    spent = dict.fromkeys(PARTS, 1.0)
    share = time_spent(spent, [])["share"]
    assert sum(share.values()) == pytest.approx(1, abs=1e-3)
    spent["gather"] = 91.0
    share = time_spent(spent, [])["share"]
    assert share["communication"] == pytest.approx(92 / (90 + len(PARTS)), abs=1e-3)


def test_communication_bounds_the_scaling_efficiency():
    spent = dict.fromkeys(PARTS, 0.0) | {"data": 10.0, "backward": 60.0, "evaluation": 900.0}
    assert time_spent(spent, [])["efficiency_at_most"] == 1
    spent |= {"gather": 5.0, "exchange": 25.0}
    assert time_spent(spent, [])["efficiency_at_most"] == pytest.approx(0.7)
    only = dict.fromkeys(PARTS, 0.0) | {"fit": 0.0, "other": 1.0}
    assert time_spent(only, [])["efficiency_at_most"] == 1


def test_speed_is_that_of_the_runs_own_epochs():
    epochs = [
        # Of a run that this one started from.
        {"images_per_s": 1.0, "workers": 1, "rank_score": -1.0},
        {"images_per_s": 20.0, "workers": 2, "rank_score": 0.5},
        {"images_per_s": 60.0, "workers": 2, "rank_score": 1.5},
        {"rank_score": 1.6},  # of a checkpoint that somebody made
    ]
    found = time_spent(dict.fromkeys(PARTS, 1.0), epochs)
    assert (found["images_per_s"], found["images_per_s_per_worker"]) == (30, 15)
    assert found["clock"] == "host"


def test_the_speed_of_a_worker_counts_those_that_each_epoch_had():
    # 1200 images by 1 worker in 60 s, and by 4 in 20 s: by 140 seconds of workers in all.
    epochs = [
        {"images_per_s": 20.0, "workers": 1, "rank_score": 0.5},
        {"images_per_s": 60.0, "workers": 4, "rank_score": 0.5},
        {"images_per_s": 60.0, "rank_score": 0.5},  # nobody knows by how many
    ]
    found = time_spent(dict.fromkeys(PARTS, 1.0), epochs)
    assert found["images_per_s_per_worker"] == pytest.approx(2 * 1200 / 140, abs=1e-3)


@pytest.mark.parametrize("odd", [0.0, -1.0, float("nan"), float("inf")])
def test_numbers_that_are_no_speed_are_none(odd):
    epochs = [
        {"images_per_s": odd, "workers": odd, "rank_score": 0.5},
        {"images_per_s": 20.0, "workers": 2, "rank_score": 0.5},
    ]
    found = time_spent(dict.fromkeys(PARTS, 1.0), epochs)
    assert (found["images_per_s"], found["images_per_s_per_worker"]) == (20, 10)


def _whole(rank, url, root):
    run = train(settings(url, "run.log_every_steps=1"), LocalSession(), open_store(root))
    return conclude(run)["time"]


def test_a_result_says_where_its_time_went(ranks, shards, tmp_path):
    time, _ = ranks(2).run(_whole, shards, str(tmp_path), timeout_s=240)
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["time"] == time
    assert {entry["workers"] for entry in result["history"]} == {2}
    assert time["seconds"].keys() == set(PARTS)
    for part in ("data", "forward", "gather", "mining", "backward", "exchange", "evaluation"):
        assert time["seconds"][part] > 0, part
    assert time["share"]["communication"] > 0
    assert 0 < time["efficiency_at_most"] < 1
    assert time["images_per_s_per_worker"] == pytest.approx(time["images_per_s"] / 2, abs=1e-3)


def test_without_other_workers_nothing_is_exchanged(small, tmp_path):
    config = small("method=bce", "stages.3.epochs=0")
    run = train(config, LocalSession(), open_store(str(tmp_path)))
    assert run.clock.seconds()["exchange"] == 0
