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
    share = time_spent(spent, [], workers=1)["share"]
    assert sum(share.values()) == pytest.approx(1, abs=1e-3)
    spent["gather"] = 91.0
    share = time_spent(spent, [], workers=1)["share"]
    assert share["communication"] == pytest.approx(92 / (90 + len(PARTS)), abs=1e-3)


def test_speed_is_that_of_the_runs_own_epochs():
    epochs = [
        {"images_per_s": 1.0, "rank_score": -1.0},  # of a run that this one started from
        {"images_per_s": 20.0, "rank_score": 0.5},
        {"images_per_s": 60.0, "rank_score": 1.5},
        {"rank_score": 1.6},  # of a checkpoint that somebody made
    ]
    found = time_spent(dict.fromkeys(PARTS, 1.0), epochs, workers=2)
    assert (found["images_per_s"], found["images_per_s_per_worker"]) == (30, 15)


def _whole(rank, url, root):
    run = train(settings(url, "run.log_every_steps=1"), LocalSession(), open_store(root))
    return conclude(run)["time"]


def test_a_result_says_where_its_time_went(ranks, shards, tmp_path):
    time, _ = ranks(2).run(_whole, shards, str(tmp_path), timeout_s=240)
    assert json.loads((tmp_path / "result.json").read_text())["time"] == time
    assert time["seconds"].keys() == set(PARTS)
    for part in ("data", "forward", "gather", "mining", "backward", "exchange", "evaluation"):
        assert time["seconds"][part] > 0, part
    assert time["share"]["communication"] > 0
    assert time["images_per_s_per_worker"] == pytest.approx(time["images_per_s"] / 2, abs=1e-3)


def test_without_other_workers_nothing_is_exchanged(small, tmp_path):
    config = small("method=bce", "stages.3.epochs=0")
    run = train(config, LocalSession(), open_store(str(tmp_path)))
    assert run.clock.seconds()["exchange"] == 0
