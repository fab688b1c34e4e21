"""What a worker hands to Ray's metrics."""

import logging

import pytest

from retdm.onray import publishing
from retdm.onray.publishing import Publisher
from retdm.train import metrics
from retdm.train.metrics import METRICS, Reading


@pytest.fixture
def handed(monkeypatch):
    """(name, value, tags) of all that Ray was given."""
    given = []

    class Kind:
        def __init__(self, name, *, description, tag_keys):
            self.name, self.tag_keys = name, tag_keys
            assert description

        def _record(self, value, tags):
            assert tags.keys() == set(self.tag_keys)
            given.append((self.name, value, tags))

    class Gauge(Kind):
        def set(self, value, tags):
            self._record(value, tags)

    monkeypatch.setattr(publishing, "Gauge", Gauge)
    monkeypatch.setattr(publishing, "Counter", Kind)
    return given


def _published(*moments):
    coming = iter(moments)
    publisher = Publisher("s3://b/run", 3, lambda: next(coming))
    for _ in moments:
        publisher.publish()


def test_every_metric_is_known_by_name(handed):
    publisher = Publisher("r", 0, list)
    assert set(publisher._on_ray) == {metric.name for metric in METRICS}
    assert handed == []


def test_labels_are_run_rank_and_part(handed):
    _published([Reading(metrics.STEP, 5), Reading(metrics.LOSS, 0.5, "bce")])
    assert handed == [
        ("retdm_step", 5, {"run": "s3://b/run", "rank": "3"}),
        ("retdm_loss", 0.5, {"run": "s3://b/run", "rank": "3", "part": "bce"}),
    ]


def test_a_total_begins_with_what_it_is_even_if_that_is_nothing_and_then_grows(handed):
    _published(*([Reading(metrics.SKIPPED_STEPS, total)] for total in (0, 0, 2, 2, 3)))
    assert [value for _, value, _ in handed] == [0, 2, 1]


def test_parts_of_a_total_grow_each_for_itself(handed):
    _published(
        [Reading(metrics.S3_BYTES, 10, "read"), Reading(metrics.S3_BYTES, 1, "written")],
        [Reading(metrics.S3_BYTES, 30, "read"), Reading(metrics.S3_BYTES, 1, "written")],
    )
    assert [(tags["part"], value) for _, value, tags in handed] == [
        ("read", 10),
        ("written", 1),
        ("read", 20),
    ]


def test_a_total_that_seems_to_shrink_waits_until_it_has_grown(handed):
    _published(*([Reading(metrics.IMAGES, total, "training")] for total in (8, 6, 16)))
    assert [value for _, value, _ in handed] == [8, 8]


def test_a_gauge_may_fall(handed):
    _published(*([Reading(metrics.STEP, step)] for step in (8, 6)))
    assert [value for _, value, _ in handed] == [8, 6]


def test_readings_that_fail_once_are_shown_the_next_time(handed, monkeypatch, caplog):
    monkeypatch.setattr(publishing, "_EVERY_S", 0.01)
    failures = iter([RuntimeError("changed while it was read"), None, SystemExit()])

    def readings():
        if failure := next(failures):
            raise failure
        return [Reading(metrics.STEP, 5)]

    with caplog.at_level(logging.DEBUG, publishing.__name__), pytest.raises(SystemExit):
        Publisher("r", 0, readings)._run()
    assert [name for name, _, _ in handed] == ["retdm_step"]
    assert "metrics are not shown this time" in caplog.text
    assert "changed while it was read" in caplog.text


def test_it_publishes_in_a_thread_once_it_is_started(handed, monkeypatch):
    begun = []
    monkeypatch.setattr(publishing.threading.Thread, "start", lambda self: begun.append(self.name))
    publisher = Publisher("r", 0, list)
    assert begun == []
    publisher.start()
    assert begun == ["metrics"]
