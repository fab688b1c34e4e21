"""The hours of a search are those of all its programs together."""

import optuna
import pytest

from retdm.config import TuneSettings
from retdm.tuning import clock
from retdm.tuning.clock import Clock


@pytest.fixture
def clocks(monkeypatch):
    """Begins programs of one search of an hour; `clocks.now` is the time."""

    class Clocks:
        now = 5000.0

        def __init__(self):
            self._study = optuna.create_study()

        def begin(self, hours=1.0):
            return Clock(self._study, TuneSettings(hours=hours))

    clocks = Clocks()
    monkeypatch.setattr(clock.time, "monotonic", lambda: clocks.now)
    return clocks


def test_a_program_that_goes_on_has_what_is_left_of_the_hours(clocks):
    first = clocks.begin()
    assert first.until == 8600
    clocks.now += 3000
    assert first.elapsed == 3000
    first.note()
    clocks.now += 10_000  # nothing is at work
    second = clocks.begin()
    assert second.until - clocks.now == 600
    assert not second.late
    clocks.now += 601
    assert second.late
    second.note()
    assert clocks.begin().late
    assert not clocks.begin(hours=2.0).late


def test_what_a_killed_program_did_not_note_is_not_counted(clocks):
    first = clocks.begin()
    clocks.now += 600
    first.note()
    clocks.now += 1200
    assert clocks.begin().until - clocks.now == 3000


def test_without_hours_it_is_never_late(clocks):
    one = clocks.begin(hours=0.0)
    clocks.now += 1e9
    assert (one.until, one.late) == (None, False)
