"""Checkpoints on storage: whole or not there, few, and written beside training."""

import threading

import pytest
import torch

from retdm.data.plan import Position
from retdm.errors import StorageError
from retdm.storage import open_store
from retdm.train.checkpoint import FOLDER, Progress, TrainingState, file_of
from retdm.train.history import Kept, checkpoint_name, kept_checkpoints, reached, retain
from retdm.train.keeper import Keeper
from retdm.train.restore import restore


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
    )


def _epoch(name, score):
    return {"checkpoint": name, "rank_score": score, "stage": "1", "epoch": 1}


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


@pytest.fixture
def keeper(store):
    keeper = Keeper(store, from_step=0, keep_best=1, before=lambda: None)
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
            history.append(_epoch(f"e{step}", 1 / step))
            keeper.save(_state(step, history=history), f"e{step}")
    keeper.save(_state(9, history=history, next_batch=1), "s9")
    keeper.save(_state(10, history=history, next_batch=2), "s10")
    keeper.wait()
    assert _names(store) == ["e4", "e8", "s9", "s10"]
    assert store.names(FOLDER) == sorted(file_of(name) for name in _names(store))
    assert (checkpoint_name(store, "best"), checkpoint_name(store, "latest")) == ("e4", "e8")
    assert reached(store) == ("1", 3)


def test_more_of_the_best_are_kept_if_asked_for():
    kept = [Kept(name, "1", 1, 0, step, "0") for step, name in enumerate("abcdef")]
    history = [
        _epoch(name, score) for name, score in zip("abcdef", (3, 9, 5, 7, 1, 1), strict=True)
    ]
    names = [one.name for one in retain(kept, history, keep_best=3)]
    assert names == ["b", "c", "d", "e", "f"]


def test_a_continued_run_forgets_and_removes_what_came_after(store, keeper):
    for step in (1, 2, 3):
        keeper.save(_state(step, next_batch=step), f"s{step}")
    keeper.wait()
    store.write(f"{FOLDER}killed.pt", b"half")
    again = Keeper(store, from_step=2, keep_best=1, before=lambda: None)
    again.begin([])
    again.close()
    assert _names(store) == ["s2"]
    assert store.names(FOLDER) == [file_of("s2")]
