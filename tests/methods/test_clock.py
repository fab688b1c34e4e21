"""Every moment counts for one part."""

import sys
import time

import pytest

from retdm.methods import clock as module
from retdm.methods.clock import PARTS, Clock


@pytest.fixture
def moments(monkeypatch):
    """Sets what time it is."""
    now = [0.0]
    monkeypatch.setattr(module.time, "perf_counter", lambda: now[0])

    def pass_(seconds):
        now[0] += seconds

    return pass_


def test_time_inside_a_part_inside_another_counts_once(moments):
    clock = Clock()
    moments(1)
    with clock.part("forward"):
        moments(2)
        with clock.part("gather"):
            moments(4)
        with clock.part("mining"):
            moments(8)
        moments(16)
    moments(32)
    spent = clock.seconds()
    assert (spent["forward"], spent["gather"], spent["mining"]) == (18, 4, 8)
    assert spent["other"] == 33
    assert sum(spent.values()) == 63
    assert tuple(spent) == PARTS


def test_a_part_that_goes_on_counts_until_now(moments):
    clock = Clock()
    with clock.part("data"):
        moments(5)
        assert clock.seconds()["data"] == 5
        moments(5)
        assert clock.seconds()["data"] == 10


def test_an_error_ends_a_part(moments):
    clock = Clock()
    with pytest.raises(ValueError, match="no"), clock.part("backward"):
        raise ValueError("no")
    moments(3)
    assert clock.seconds()["other"] == 3


def test_a_share_of_what_a_part_got_since_counts_for_another(moments):
    clock = Clock({"backward": 100.0})
    for seconds, share in ((10, 0.5), (20, 0.25), (0, 0.5)):
        with clock.part("backward"):
            moments(seconds)
        clock.split("backward", "exchange", share)
    spent = clock.seconds()
    assert (spent["backward"], spent["exchange"]) == (120, 10)


def test_it_counts_on_from_an_earlier_attempt(moments):
    clock = Clock({"forward": 7.0, "a part of an earlier version": 1.0})
    with clock.part("forward"):
        moments(1)
    assert clock.seconds()["forward"] == 8


def test_who_reads_between_any_two_statements_finds_each_moment_once(moments):
    clock, sums, before = Clock(), [], sys.gettrace()
    own = {Clock._turn.__code__, Clock.split.__code__}

    def read(frame, event, _):
        if frame.f_code in own:
            sums.append(sum(clock.seconds().values()))
            return read
        return None

    moments(10)
    sys.settrace(read)
    try:
        with clock.part("backward"):
            moments(0)
        clock.split("backward", "exchange", 0.5)
        clock.split("other", "exchange", 0.5)
    finally:
        sys.settrace(before)
    assert len(sums) > 12
    assert set(sums) == {10}


def test_without_a_profiler_a_part_costs_microseconds():
    clock = Clock()
    begin = time.perf_counter()
    for _ in range(1000):
        with clock.part("forward"):
            pass
    # About 1 ms; the rest is for machines that are busy.
    assert time.perf_counter() - begin < 0.5
