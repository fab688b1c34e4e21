"""Of several attempts at one run, believed dead or not, only the latest writes to it."""

import pytest
import torch

from retdm.errors import StorageError
from retdm.storage import open_store
from retdm.train.attempt import begin_attempt
from retdm.train.history import kept_checkpoints
from retdm.train.keeper import Keeper
from retdm.train.loop import train
from retdm.train.restore import restore
from retdm.train.session import LocalSession
from tests.train.test_keeper import _state

REFUSED = (
    r"/_attempt/latest is not this attempt at the run's any more: another attempt at the run took "
    r"the place over, or .* run it again$"
)


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def _keeper(store, step):
    claim = begin_attempt(store)
    keeper = Keeper(store, claim, from_step=step, keep_best=1, before=lambda: None)
    keeper.begin([])
    return keeper


def _step(store):
    return restore(store, torch.device("cpu")).progress.step


def test_an_earlier_attempt_adds_no_checkpoint(store):
    old = _keeper(store, 0)
    old.save(_state(2, next_batch=2), "s2")
    old.save(_state(4, next_batch=4), "s4")
    old.wait()
    new = _keeper(store, 4)
    old.save(_state(6, next_batch=6), "s6")
    with pytest.raises(StorageError, match=REFUSED):
        old.wait()
    new.save(_state(6, next_batch=6, weight=1.0), "s6")
    new.wait()
    for keeper in (old, new):
        keeper.close()
    assert [one.name for one in kept_checkpoints(store)] == ["s4", "s6"]
    assert restore(store, torch.device("cpu")).model["w"].tolist() == [1.0] * 3


def test_an_attempt_that_begins_late_removes_nothing_of_its_successor(store):
    old = begin_attempt(store)
    late = Keeper(store, old, from_step=0, keep_best=1, before=lambda: None)
    new = _keeper(store, 0)
    new.save(_state(2, next_batch=2), "s2")
    new.wait()
    with pytest.raises(StorageError, match=REFUSED):
        late.begin([])
    for keeper in (late, new):
        keeper.close()
    assert _step(store) == 2


def test_a_step_that_is_saved_again_keeps_the_one_before_it(store):
    keeper = _keeper(store, 0)
    for name, step in (("s2", 2), ("s4", 4), ("s4", 4)):
        keeper.save(_state(step, next_batch=step), name)
        keeper.wait()
    keeper.close()
    assert [one.name for one in kept_checkpoints(store)] == ["s2", "s4"]
    assert _step(store) == 4


def test_an_attempt_that_ends_while_a_checkpoint_is_on_its_way_does_not_name_it(store):
    old = _keeper(store, 0)
    old.save(_state(2, next_batch=2), "s2")
    old.wait()
    keepers = [old]

    def meanwhile():
        keepers.append(_keeper(store, 2))

    old.before = meanwhile
    old.save(_state(4, next_batch=4), "s4")
    with pytest.raises(StorageError, match=REFUSED):
        old.wait()
    for keeper in keepers:
        keeper.close()
    assert _step(store) == 2


def test_nothing_is_read_before_earlier_attempts_are_shut_out(small, store, monkeypatch):
    old = begin_attempt(store)

    def found(store):
        with pytest.raises(StorageError, match=REFUSED):
            old.check()
        raise KeyboardInterrupt

    monkeypatch.setattr("retdm.train.restore.kept_checkpoints", found)
    with pytest.raises(KeyboardInterrupt):
        train(small(), LocalSession(), store)
