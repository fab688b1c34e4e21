"""The ledger names the samples of every step, and only of the steps that count."""

import json
import shutil
from collections import defaultdict

import pytest
import torch

from retdm.data.batch import Batch
from retdm.data.loader import TrainingLoader
from retdm.data.plan import Position
from retdm.data.split import open_split
from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train.ledger import Ledger, consumed, file_of
from retdm.train.loop import train
from retdm.train.session import LocalSession
from tests.train.conftest import settings
from tests.train.test_bad_samples import _damage
from tests.train.test_resume import _attempt, _die, _run

KEYS = tuple("abcdef")
OWN = ("stages.1.epochs=2", "run.ledger=true", "run.deterministic=true", "data.batch_size=18")


def _at(epoch, batch):
    return Position(
        seed=0, epoch=epoch, next_batch=batch, digest="d" * 64, batch_size=2, window=16
    )


def _lines(store):
    return [
        json.loads(line)
        for name in store.names("ledger/")
        for line in store.read(name).decode().splitlines()
    ]


@pytest.fixture
def store(tmp_path):
    return open_store(str(tmp_path))


def _ledger(store, step=0, epoch=0):
    return Ledger(store, KEYS, from_step=step, from_epoch=epoch)


def test_a_line_names_step_epoch_batch_and_samples_in_order(store):
    ledger = _ledger(store)
    ledger.write(7, _at(2, 3), [4, 0])
    ledger.upload()
    ledger.close()
    assert store.names() == ["ledger/epoch002.jsonl"]
    line = {"step": 7, "plan_epoch": 2, "batch": 3, "keys": ["e", "a"]}
    assert json.loads(store.read(file_of(2))) == line


def test_steps_that_will_be_repeated_are_dropped(store):
    ledger = _ledger(store)
    for step in range(1, 8):
        ledger.write(step, _at((step - 1) // 3, (step - 1) % 3), [step % 6])
    ledger.upload()
    ledger.close()
    again = _ledger(store, step=4, epoch=1)
    again.write(5, _at(1, 1), [0])
    again.upload()
    again.close()
    lines = _lines(store)
    assert [line["step"] for line in lines] == [1, 2, 3, 4, 5]
    assert lines[-1]["keys"] == ["a"]


def test_other_files_are_left_alone_and_damaged_ones_named(store):
    store.write("ledger/notes.txt", b"mine")
    _ledger(store).close()
    for content in (b"{", b"[1]\n", b'{"step": "x"}\n', b"\xff", b"{}", b'{"step": true}', b"\n"):
        store.write(file_of(0), b'{"step": 1}\n' + content)
        message = r"epoch000.jsonl, line 2: not a line of a ledger; restore the file, remove the l"
        with pytest.raises(CheckpointError, match=message):
            _ledger(store)
        assert store.read(file_of(0)) == b'{"step": 1}\n' + content
    assert store.read("ledger/notes.txt") == b"mine"


def test_a_last_line_without_its_end_is_not_run_into_the_next_one(store):
    store.write(file_of(0), b'{"step": 1}')
    ledger = _ledger(store, step=1)
    ledger.write(2, _at(0, 1), [0])
    ledger.upload()
    ledger.close()
    assert [line["step"] for line in _lines(store)] == [1, 2]


def test_an_epoch_that_is_over_is_sent_once(store, monkeypatch):
    ledger, sent = _ledger(store), []
    real = type(store).write

    def write(self, name, content):
        sent.append(name)
        real(self, name, content)

    monkeypatch.setattr(type(store), "write", write)
    for epoch in (0, 0, 1, 1):
        ledger.write(1, _at(epoch, 0), [0])
        ledger.upload()
    ledger.close()
    assert sent == [file_of(0)] * 2 + [file_of(1)] * 2


def test_what_could_not_be_sent_is_sent_later(store, monkeypatch):
    ledger = _ledger(store)
    ledger.write(1, _at(0, 0), [0])
    with monkeypatch.context() as patch:
        patch.setattr(type(store), "write", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            ledger.upload()
    ledger.write(2, _at(1, 0), [1])
    ledger.upload()
    ledger.close()
    assert [line["step"] for line in _lines(store)] == [1, 2]


def test_rows_that_only_fill_up_are_left_out():
    batch = Batch(
        images=torch.zeros(3, 3, 1, 1, dtype=torch.uint8),
        targets=torch.zeros(3, 1, dtype=torch.bool),
        indices=torch.tensor([5, 0, 5]),
        valid=torch.tensor([True, True, False]),
        global_size=2,
    )
    assert consumed(batch) == [5, 0]


def _parts(rank, url, world):
    """What `consumed` says on a rank of the first epoch's batches."""
    data, config = open_split(url, "train"), settings(url, "data.batch_size=9").data
    loader = TrainingLoader(data, config, seed=0, rank=rank, world_size=world)
    return [consumed(batch) for batch in loader.epoch(0)]


def test_all_ranks_tell_the_global_batch_in_the_order_of_one(shards, ranks):
    one = _parts(0, shards, 1)
    assert sorted(row for rows in one for row in rows) == list(
        range(len(open_split(shards, "train")))
    )
    for world in (2, 3):
        assert ranks(world).run(_parts, shards, world) == [one] * world


@pytest.mark.slow
def test_a_run_consumes_each_sample_once_an_epoch_also_if_it_dies(shards, ranks, tmp_path):
    often = (*OWN, "checkpoint.every_steps=2")
    ranks(2).run(_attempt, shards, tmp_path / "cut", 5, often)
    assert len(_lines(open_store(str(tmp_path / "cut")))) < 6
    ranks(2).run(_attempt, shards, tmp_path / "cut", None, often)
    lines, epochs = _lines(open_store(str(tmp_path / "cut"))), defaultdict(list)
    assert [line["step"] for line in lines] == list(range(1, len(lines) + 1))
    for line in lines:
        assert line["batch"] == len(epochs[line["plan_epoch"]]) // 18
        epochs[line["plan_epoch"]] += line["keys"]
    assert list(epochs) == [0, 1, 2, 3]
    for keys in epochs.values():
        assert sorted(keys) == sorted(open_split(shards, "train").table.keys)
    ranks(2).run(_attempt, shards, tmp_path / "whole", None, OWN)
    assert _lines(open_store(str(tmp_path / "whole"))) == lines


@pytest.mark.slow
def test_what_stands_in_for_a_bad_image_is_what_was_consumed(shards, tmp_path):
    url = str(shutil.copytree(shards, tmp_path / "set"))
    bad = _damage(url, "train", 3)
    own = ("method=bce", "run.ledger=true", "data.max_bad_samples=1")
    train(settings(url, *own), LocalSession(), open_store(str(tmp_path / "run")))
    lines = _lines(open_store(str(tmp_path / "run")))
    first = [key for line in lines if line["plan_epoch"] == 0 for key in line["keys"]]
    keys = list(open_split(url, "train").table.keys)
    assert bad not in first
    assert len(first) == len(keys)
    assert set(first) == {*keys} - {bad}


@pytest.mark.slow
def test_a_ledger_may_begin_within_a_run_and_is_not_there_unasked(small, tmp_path):
    own = ("stages.1.epochs=2", "checkpoint.every_steps=1")
    _die(small(*own), tmp_path, 3)
    assert not (tmp_path / "ledger").exists()
    _run(small(*own, "run.ledger=true"), tmp_path)
    steps = [line["step"] for line in _lines(open_store(str(tmp_path)))]
    assert steps[0] > 1
    assert steps == list(range(steps[0], steps[-1] + 1))
