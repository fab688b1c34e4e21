"""Checkpoints on storage: whole or not there, few, and written beside training."""

import threading

import pytest
import torch

from retdm.data.plan import Position
from retdm.errors import StorageError, TransientStorageError
from retdm.storage import open_store
from retdm.train.attempt import begin_attempt
from retdm.train.checkpoint import FOLDER, Progress, TrainingState, file_of
from retdm.train.history import checkpoint_name, kept_checkpoints, reached, retain
from retdm.train.keeper import Keeper
from retdm.train.restore import restore
from tests.checkpoints import entry, kept, whole_state


def _state(step, *, history=(), next_batch=0, weight=0.0):
    data = Position(
        seed=0, epoch=0, next_batch=next_batch, digest="d" * 64, batch_size=8, window=16
    )
    return TrainingState(
        model={"w": torch.full((3,), weight)},
        optimizer={},
        bank={},
        progress=Progress(data, stage="1", epoch=len(history), step=step),
        history=list(history),
        bad_samples=[],
        config={},
        labels=("a",),
        tally=whole_state().tally if next_batch else {},
    )


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


@pytest.fixture
def keeper(store):
    keeper = Keeper(store, begin_attempt(store), from_step=0, keep_best=1, before=lambda: None)
    yield keeper
    keeper.close()


def _names(store):
    return [one.name for one in kept_checkpoints(store)]


def test_what_changes_after_save_is_not_in_the_checkpoint(store, keeper):
    gate = threading.Event()
    keeper.before = gate.wait
    state = _state(1, weight=1.0)
    keeper.save(state, "a")
    assert keeper.busy
    state.model["w"].fill_(2)
    gate.set()
    keeper.wait()
    assert not keeper.busy
    assert restore(store, torch.device("cpu")).model["w"].tolist() == [1.0, 1.0, 1.0]


def test_a_checkpoint_is_named_only_when_it_is_there(store, keeper, monkeypatch):
    keeper.save(_state(1), "a")
    keeper.wait()
    real = type(store).write

    def full(self, name, content):
        if name == file_of("b"):
            raise StorageError(f"{self.url}/{name}: no space left")
        real(self, name, content)

    monkeypatch.setattr(type(store), "write", full)
    keeper.save(_state(2), "b")
    with pytest.raises(StorageError, match=r"b\.pt: no space left"):
        keeper.save(_state(3), "c")
    assert _names(store) == ["a"]


def test_a_storage_that_is_away_for_a_while_costs_one_checkpoint(
    store, keeper, monkeypatch, caplog
):
    real, away = type(store).write, {file_of("a")}

    def write(self, name, content):
        if name in away:
            raise TransientStorageError(f"{self.url}/{name}: no answer")
        real(self, name, content)

    monkeypatch.setattr(type(store), "write", write)
    keeper.save(_state(1), "a")
    keeper.save(_state(2), "b")
    keeper.wait()
    assert _names(store) == ["b"]
    assert any("no answer; the next checkpoint is tried" in text for text in caplog.messages)
    away.add(file_of("c"))
    keeper.save(_state(3), "c")
    with pytest.raises(TransientStorageError, match=r"c\.pt: no answer"):
        keeper.wait()


def test_a_storage_that_refuses_to_delete_is_told_and_trained_on(
    store, keeper, monkeypatch, caplog
):
    def refuse(self, name):
        raise StorageError(f"{self.url}/{name}: may not be deleted")

    monkeypatch.setattr(type(store), "delete", refuse)
    for step in (1, 2, 3):
        keeper.save(_state(step, next_batch=step), f"s{step}")
    keeper.wait()
    assert _names(store) == ["s2", "s3"]
    assert any("s1.pt: may not be deleted" in text for text in caplog.messages)


def test_the_log_goes_before_the_checkpoint(store, keeper):
    seen = []
    keeper.before = lambda: seen.append(store.names(FOLDER))
    keeper.save(_state(1), "a")
    keeper.wait()
    assert seen == [[]]


def test_kept_are_the_last_two_the_last_epoch_and_the_best(store, keeper):
    history = []
    for step in range(1, 9):
        if step % 4:
            keeper.save(_state(step, history=history, next_batch=step % 4), f"s{step}")
        else:
            history.append(entry(f"e{step}", 1 / step, step=step))
            keeper.save(_state(step, history=history), f"e{step}")
    keeper.save(_state(9, history=history, next_batch=1), "s9")
    keeper.save(_state(10, history=history, next_batch=2), "s10")
    keeper.wait()
    assert _names(store) == ["e4", "e8", "s9", "s10"]
    assert store.names(FOLDER) == sorted(file_of(name) for name in _names(store))
    assert (checkpoint_name(store, "best"), checkpoint_name(store, "latest")) == ("e4", "e8")
    assert reached(store) == ("1", 3)


def test_more_of_the_best_are_kept_if_asked_for():
    there = [kept(name, step=step) for step, name in enumerate("abcdef")]
    scores = zip("abcdef", (3, 9, 5, 7, 1, 1), strict=True)
    history = [entry(name, score, step=step) for step, (name, score) in enumerate(scores)]
    names = [one.name for one in retain(there, history, keep_best=3)]
    assert names == ["b", "c", "d", "e", "f"]


def test_a_continued_run_forgets_and_removes_what_came_after(store, keeper):
    for step in (1, 2, 3):
        keeper.save(_state(step, next_batch=step), f"s{step}")
    keeper.wait()
    store.write(f"{FOLDER}killed.pt", b"half")
    half = store.path(f"{FOLDER}.s4.pt.0123456789abcdef0123456789abcdef.part")
    half.write_bytes(b"half")
    claim = begin_attempt(store)
    again = Keeper(store, claim, from_step=2, keep_best=1, before=lambda: None)
    again.begin([])
    again.close()
    assert _names(store) == ["s2"]
    assert [path.name for path in store.path("checkpoints").iterdir()] == ["s2.pt"]
