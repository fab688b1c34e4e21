"""What is left on storage of a run that will not go on."""

import pytest

from retdm.storage import open_store
from retdm.train.checkpoint import file_of
from retdm.train.history import checkpoint_name, finished_epochs, kept_checkpoints, publish
from retdm.train.thin import thin
from tests.checkpoints import entry, kept


@pytest.fixture
def store(tmp_path):
    """A run of three epochs, the second one the best, that was stopped inside the fourth."""
    store = open_store(str(tmp_path))
    history = [
        entry(f"e{n}", score, epoch=n, step=n) for n, score in ((1, 1.3), (2, 1.6), (3, 1.5))
    ]
    there = [kept(f"e{n}", epoch=n, step=n) for n in (2, 3)]
    there.append(kept("inside", epoch=3, step=4, next_batch=1))
    for one in there:
        store.write(file_of(one.name), b"weights")
    publish(store, history, there)
    return store


def _files(store):
    return sorted(store.names("checkpoints/"))


def test_the_checkpoint_of_the_best_epoch_is_left(store):
    history = finished_epochs(store)
    thin(store, keep_best=1)
    assert _files(store) == [file_of("e2")]
    assert [one.name for one in kept_checkpoints(store)] == ["e2"]
    assert (checkpoint_name(store, "best"), checkpoint_name(store, "latest")) == ("e2", "e2")
    assert finished_epochs(store) == history
    thin(store, keep_best=1)
    assert _files(store) == [file_of("e2")]


def test_as_many_of_the_best_are_left_as_the_run_keeps(store):
    thin(store, keep_best=2)
    assert _files(store) == [file_of("e2"), file_of("e3")]


def test_a_run_without_a_finished_epoch_keeps_what_it_has(tmp_path):
    store = open_store(str(tmp_path))
    thin(store, keep_best=1)
    store.write(file_of("inside"), b"weights")
    publish(store, [], [kept("inside", next_batch=1)])
    thin(store, keep_best=1)
    assert _files(store) == [file_of("inside")]
