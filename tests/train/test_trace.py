"""The steps that were asked for are in a trace on storage, one for each rank."""

import gzip
import json
import logging
from collections import Counter

import pytest

from retdm.errors import ConfigError, StorageError
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.profiled_steps import ProfiledSteps
from retdm.train.session import LocalSession
from retdm.train.trace import FOLDER, file_of
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
    left = ProfiledSteps(done + 1, steps.last)
    assert store.names(FOLDER) == [file_of(left, 0)]
    assert _events(store, left, 0)["backward"] == steps.last - done


SHORT = ("method=bce", "stages.3.epochs=0")


class Refusing:
    """A store that takes no traces, or does not list them."""

    def __init__(self, root, *, names=False):
        self._store, self._names = open_store(str(root)), names

    def __getattr__(self, name):
        return getattr(self._store, name)

    def write(self, name, content):
        if name.startswith(FOLDER) and not self._names:
            raise StorageError("no room for a trace")
        self._store.write(name, content)

    def names(self, prefix=""):
        if prefix == FOLDER and self._names:
            raise StorageError("no list of traces")
        return self._store.names(prefix)


def test_a_whole_trace_is_not_replaced_where_a_run_goes_on(small, tmp_path, caplog):
    store = open_store(str(tmp_path))
    name = file_of(STEPS, 0)
    store.write(name, b"whole")
    with caplog.at_level(logging.INFO):
        # From before the first of them.
        train(small(*SHORT), LocalSession(), store, profile=STEPS)
    assert store.names(FOLDER) == [name]
    assert store.read(name) == b"whole"
    assert f"profile: {store.url}/{name} is there already, and stays" in caplog.messages
    assert all(record.levelno < logging.WARNING for record in caplog.records)


@pytest.mark.parametrize("recorded", [ProfiledSteps(1, 2), ProfiledSteps(2, 2)])
def test_who_goes_on_behind_the_steps_does_not_miss_a_trace_that_is_there(
    small, tmp_path, caplog, recorded
):
    store = open_store(str(tmp_path))
    train(small(*SHORT), LocalSession(), store)
    store.write(file_of(recorded, 0), b"of an earlier attempt")
    train(small(*SHORT, "stages.1.epochs=2"), LocalSession(), store, profile=ProfiledSteps(1, 2))
    assert "profile" not in caplog.text


@pytest.mark.parametrize("other", [ProfiledSteps(1, 2), ProfiledSteps(2, 4)])
def test_a_trace_of_other_steps_is_none_of_these(small, tmp_path, caplog, other):
    store = open_store(str(tmp_path))
    train(small(*SHORT), LocalSession(), store)
    store.write(file_of(other, 0), b"of other steps")
    train(small(*SHORT, "stages.1.epochs=2"), LocalSession(), store, profile=ProfiledSteps(2, 2))
    assert "did not take all of the steps 2 to 2, so there is no trace" in caplog.text


def test_a_trace_that_cannot_be_stored_is_missed_by_nobody_but_the_log(small, tmp_path, caplog):
    config = small(*SHORT, "stages.1.epochs=2")
    run = train(config, LocalSession(), Refusing(tmp_path), profile=STEPS)
    assert run.progress.step > STEPS.last
    assert run.store.names(FOLDER) == []
    assert "profile: there is no trace of rank 0: no room for a trace" in caplog.messages
    assert "did not take all" not in caplog.text


def test_steps_are_recorded_where_the_storage_does_not_list_traces(small, tmp_path, caplog):
    train(small(*SHORT), LocalSession(), Refusing(tmp_path, names=True), profile=STEPS)
    assert _events(open_store(str(tmp_path)), STEPS, 0)["backward"] == 2
    assert "not known whether there is a trace of rank 0: no list of traces" in caplog.text


def test_steps_that_are_not_taken_leave_no_trace_and_are_told(small, tmp_path, caplog):
    store = open_store(str(tmp_path))
    config = small("method=bce", "stages.3.epochs=0")
    train(config, LocalSession(), store, profile=ProfiledSteps(2, 1000))
    assert store.names("profile/") == []
    assert "did not take all of the steps 2 to 1000, so there is no trace" in caplog.text
