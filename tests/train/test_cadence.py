"""When checkpoints inside an epoch are due."""

import pytest

from retdm.config import CheckpointSettings
from retdm.train.cadence import Cadence


class Clock:
    """Seconds that pass when told to."""

    now = 0.0

    def __call__(self):
        return self.now


def _due(cadence, steps, *, busy=False):
    return [step for step in steps if cadence.due(step, busy=busy)]


def test_nothing_is_due_if_nothing_is_wanted():
    clock = Clock()
    cadence = Cadence(CheckpointSettings(every_minutes=0), look_every=1, clock=clock)
    clock.now = 1e9
    assert _due(cadence, range(100)) == []


def test_every_so_many_steps_one_is_due():
    cadence = Cadence(CheckpointSettings(every_steps=4), look_every=10)
    assert _due(cadence, range(1, 13)) == [4, 8, 12]


def test_by_the_clock_one_is_due_at_the_next_look():
    clock = Clock()
    cadence = Cadence(CheckpointSettings(every_minutes=2), look_every=5, clock=clock)
    clock.now = 119
    assert _due(cadence, range(1, 11)) == []
    clock.now = 121
    assert _due(cadence, range(11, 16)) == [15]
    cadence.saved()
    clock.now = 240
    assert _due(cadence, range(16, 31)) == []
    clock.now = 242
    assert _due(cadence, range(31, 36)) == [35]


@pytest.mark.parametrize("settings", [{"every_steps": 1}, {"every_minutes": 1e-9}])
def test_none_is_due_while_one_is_on_its_way(settings):
    clock = Clock()
    cadence = Cadence(CheckpointSettings(**settings), look_every=1, clock=clock)
    clock.now = 1
    assert _due(cadence, range(1, 9), busy=True) == []
    assert _due(cadence, [9]) == [9]
