"""The steps that were asked for are in a trace on storage, one for each rank."""

import gzip
import json
import logging
from collections import Counter

import pytest

from retdm.errors import ConfigError
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.profiled_steps import ProfiledSteps
from retdm.train.session import LocalSession
from retdm.train.trace import file_of
from tests.train.conftest import settings

STEPS = ProfiledSteps(2, 3)
OWN = ("stages.1.epochs=0", "stages.2.epochs=0", "stages.3.epochs=2", "bank.warmup_steps=0")


@pytest.mark.parametrize(
    ("text", "steps"), [("steps=10:20", ProfiledSteps(10, 20)), ("steps=1:1", ProfiledSteps(1, 1))]
)
def test_steps_are_read(text, steps):
    assert ProfiledSteps.parse(text) == steps


@pytest.mark.parametrize(
    "text", ["", "10:20", "steps=10", "steps=a:b", "steps=1:2:3", "steps=-1:2"]
)
def test_what_is_no_range_of_steps_is_refused(text):
    with pytest.raises(ConfigError, match=r"--profile '.*': give steps=FROM:TO, for example"):
        ProfiledSteps.parse(text)


@pytest.mark.parametrize("text", ["steps=20:10", "steps=0:3"])
def test_a_range_without_steps_is_refused(text):
    with pytest.raises(ConfigError, match="need 1 <= FROM <= TO; steps count from 1"):
        ProfiledSteps.parse(text)


def _events(store, steps, rank):
    """How often each event that lasts is in the trace, by name."""
    content = json.loads(gzip.decompress(store.read(file_of(steps, rank))))
    complete = [one for one in content["traceEvents"] if one.get("ph") == "X"]
    # What Perfetto needs of each.
    assert all({"name", "ts", "dur", "pid", "tid"} <= one.keys() for one in complete)
    return Counter(one["name"] for one in complete)


def test_a_trace_has_the_parts_and_operators_of_its_steps(small, tmp_path, caplog):
    store = open_store(str(tmp_path))
    with caplog.at_level(logging.INFO):
        run = train(small(*OWN), LocalSession(), store, profile=STEPS)
    assert run.progress.step > STEPS.last
    found = _events(store, STEPS, 0)
    for part in ("data", "forward", "gather", "mining", "backward", "optimizer"):
        assert found[part] == 2, part
    assert found["aten::convolution"] > 0
    assert f"profile: steps 2 to 3 are in {store.url}/{file_of(STEPS, 0)}" in caplog.messages
    assert not run.clock.named


def _rank_train(rank, url, root):
    train(settings(url, *OWN), LocalSession(), open_store(root), profile=STEPS)


def test_each_rank_has_a_trace_of_its_own(ranks, shards, tmp_path):
    ranks(2).run(_rank_train, shards, str(tmp_path), timeout_s=240)
    store = open_store(str(tmp_path))
    for rank in range(2):
        found = _events(store, STEPS, rank)
        assert found["backward"] == 2
        assert any("all_reduce" in name or "allreduce" in name for name in found)


def test_a_run_that_goes_on_is_profiled_from_where_it_is(small, tmp_path):
    store, steps = open_store(str(tmp_path)), ProfiledSteps(1, 4)
    train(small("method=bce", "stages.1.epochs=1", "stages.3.epochs=0"), LocalSession(), store)
    more = small("method=bce", "stages.1.epochs=2", "stages.3.epochs=0")
    done = train(more, LocalSession(), store, profile=steps).progress.step // 2
    assert _events(store, steps, 0)["backward"] == steps.last - done


def test_steps_that_are_not_taken_leave_no_trace_and_are_told(small, tmp_path, caplog):
    store = open_store(str(tmp_path))
    config = small("method=bce", "stages.3.epochs=0")
    train(config, LocalSession(), store, profile=ProfiledSteps(2, 1000))
    assert store.names("profile/") == []
    assert "did not take all of the steps 2 to 1000, so there is no trace" in caplog.text
