"""Work in several processes: results, steps, and errors as they are."""

import contextlib
import os
import time

import pytest

from retdm.errors import ShardError, TransientStorageError
from retdm.shard.crew import useful_workers, work_through


def double(number):
    """Two steps, then the result; fails at 13."""
    yield None
    if number == 13:
        raise ShardError("number 13 is damaged; take another")
    yield None
    yield 2 * number


def setting(name):
    """A variable of the environment, in whatever process this is."""
    yield os.environ.get(name, "unset")


def reach(number):
    """The storage is lost; the last to notice would wait for long."""
    if number:
        time.sleep(60)
    yield None
    raise TransientStorageError("s3://photos/x: cannot reach it")


@pytest.mark.parametrize("workers", [1, 2])
def test_steps_and_results(workers):
    events = list(work_through(double, range(10), workers=workers))
    assert events.count(None) == 20
    assert sorted(event for event in events if event is not None) == list(range(0, 20, 2))


@pytest.mark.parametrize("workers", [1, 2])
def test_an_error_arrives_as_it_is(workers):
    with pytest.raises(ShardError, match="number 13 is damaged; take another"):
        list(work_through(double, range(10, 20), workers=workers))


def test_a_lost_storage_is_waited_for_once():
    started = time.monotonic()
    with pytest.raises(TransientStorageError, match="s3://photos/x: cannot reach it"):
        list(work_through(reach, [0, 1], workers=2))
    assert time.monotonic() - started < 30


def test_items_are_taken_as_late_as_possible():
    taken = []

    def items():
        for number in range(100):
            taken.append(number)
            yield number

    with contextlib.closing(work_through(double, items(), workers=2)) as events:
        next(event for event in events if event is not None)
    assert len(taken) < 20


def test_processes_see_the_settings_of_now(monkeypatch):
    # The process that starts the others has been running since an earlier test.
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://late")
    assert "http://late" in list(work_through(setting, ["AWS_ENDPOINT_URL"], workers=2))
    monkeypatch.delenv("AWS_ENDPOINT_URL")
    assert "unset" in list(work_through(setting, ["AWS_ENDPOINT_URL"], workers=2))


@pytest.mark.parametrize(
    "wanted, items, size, expected",
    [(5, 3, 0, 3), (5, 9, 0, 5), (None, 9, 1, 1), (None, 1, 1 << 40, 1), (None, 0, 0, 1)],
)
def test_no_more_processes_than_pay(wanted, items, size, expected):
    assert useful_workers(wanted, items, size) == expected
