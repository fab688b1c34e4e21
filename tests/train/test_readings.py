"""What a run tells of itself, read at its end and while it trains."""

import time

import pytest

from retdm.counts import COUNTS
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.metrics import GPU_MEMORY, METRICS
from retdm.train.readings import readings
from retdm.train.result import conclude
from retdm.train.session import LocalSession


class Watching(LocalSession):
    """Reads the metrics when an epoch is over."""

    def __init__(self):
        self.seen = []

    def watch(self, readings):
        self.readings = readings

    def report(self, metrics):
        self.seen.append(_table(self.readings()))


def _table(found):
    return {(one.metric.name, one.part): one.value for one in found}


@pytest.fixture
def counted():
    """This process counts from 0."""
    COUNTS.take()


def test_a_run_tells_every_metric_but_the_gpus(small, tmp_path, counted):
    begun, session = time.perf_counter(), Watching()
    config = small("run.log_every_steps=2", "stages.2.epochs=0")
    run = train(config, session, open_store(str(tmp_path)))
    now, elapsed = _table(readings(run)), time.perf_counter() - begun
    assert {name for name, _ in now} == {metric.name for metric in METRICS if metric != GPU_MEMORY}
    assert now["retdm_step", ""] == run.progress.step
    assert now["retdm_images", "training"] == 2 * len(run.train_data)
    assert now["retdm_images", "evaluation"] == 2 * len(run.val_data)
    assert now["retdm_checkpoints", ""] == 2
    assert now["retdm_checkpoint_seconds", ""] > 0
    assert now["retdm_bank_fill", ""] == 1
    assert 0 < now["retdm_bank_age_steps", ""] <= run.progress.step
    assert 0 <= now["retdm_violations", ""] <= 1
    assert now["retdm_loss", "total"] == run.line["total"]
    seconds = {part: value for (name, part), value in now.items() if name == "retdm_seconds"}
    for part in ("data", "forward", "mining", "backward", "optimizer", "evaluation", "checkpoint"):
        assert seconds[part] > 0, part
    assert seconds["fit"] == 0
    assert sum(seconds.values()) < elapsed
    first, second = session.seen
    assert ("retdm_violations", "") in second
    assert first["retdm_images", "training"] < second["retdm_images", "training"]


def test_evaluation_at_the_end_counts_too(small, tmp_path, counted):
    run = train(small("method=bce"), LocalSession(), open_store(str(tmp_path)))
    before = _table(readings(run))
    conclude(run)
    after = _table(readings(run))
    key = ("retdm_seconds", "evaluation")
    assert after[key] > before[key]
    assert after["retdm_images", "evaluation"] > before["retdm_images", "evaluation"]


def test_time_is_counted_on_when_a_run_goes_on(small, tmp_path):
    store = open_store(str(tmp_path))
    own = ("method=bce", "stages.3.epochs=0")
    first = train(small(*own, "stages.1.epochs=1"), LocalSession(), store)
    spent = first.clock.seconds()["backward"]
    again = train(small(*own, "stages.1.epochs=2"), LocalSession(), store)
    assert again.clock.seconds()["backward"] > spent > 0
