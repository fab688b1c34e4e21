"""Runs that die between any two steps end as if they had not, bit for bit."""

import itertools
import json
import logging

import pytest
import torch

from retdm import comm
from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train import checkpoint
from retdm.train.history import kept_checkpoints
from retdm.train.keeper import Keeper
from retdm.train.loop import train
from retdm.train.session import LocalSession
from retdm.train.step import Stepper
from tests.train.conftest import settings
from tests.train.poison import poison

pytestmark = pytest.mark.slow
STAGES = ("stages.1.epochs=2", "run.deterministic=true", "run.log_every_steps=3")
TIMINGS = {"images_per_s", "wait_share"}
LAST = "stage3-epoch001"
SKIPPED = (1, 10)
"""Steps, from 0, of stages 1 and 3, in which a loss is made no number."""


class Killed(Exception):
    """Stands for a process that is gone."""


def _run(config, root, *, steps=None):
    """Train until the end, or die in the middle of the step after `steps` of this attempt."""
    taken = itertools.count()

    def one(self, batch, whole=Stepper.train):
        if next(taken) == steps:
            raise Killed
        return whole(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "train", one)
        # Or a fast run would leave out checkpoints, and the tests would not know which.
        patch.setattr(Keeper, "busy", False)
        return train(config, LocalSession(), open_store(str(root)))


def _die(config, root, steps):
    with pytest.raises(Killed):
        _run(config, root, steps=steps)


def _end(root):
    """All that a run leaves but timings: its last checkpoint and its log."""
    state = checkpoint.load(root / checkpoint.file_of(LAST))
    history = [{k: v for k, v in entry.items() if k not in TIMINGS} for entry in state.history]
    lines = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    return {
        "model": state.model,
        "optimizer": state.optimizer["sgd"],
        "plateau": state.optimizer["plateau"],
        "bank": state.bank,
        "progress": state.progress,
        "skipped": state.skipped_steps,
        "history": history,
        "log": [{k: v for k, v in line.items() if k not in TIMINGS} for line in lines],
    }


def _same(one, other, where="run"):
    assert type(one) is type(other), where
    if isinstance(one, torch.Tensor):
        assert torch.equal(one, other), where
    elif isinstance(one, dict):
        assert one.keys() == other.keys(), where
        for key in one:
            _same(one[key], other[key], f"{where}.{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), where
        for number, (mine, its) in enumerate(zip(one, other, strict=True)):
            _same(mine, its, f"{where}[{number}]")
    else:
        assert one == other or (one != one and other != other), where


@pytest.fixture(scope="module")
def unbroken(shards, tmp_path_factory):
    """How a RETDM run ends that never stops and has no checkpoints inside epochs."""
    root = tmp_path_factory.mktemp("unbroken")
    _run(settings(shards, *STAGES), root)
    return _end(root)


@pytest.mark.parametrize(("every", "steps"), [(1, 1), (1, 6), (2, 3), (2, 11), (3, 11)])
def test_a_run_that_dies_at_any_step_ends_as_the_unbroken_one(
    unbroken, small, tmp_path, every, steps
):
    config = small(*STAGES, f"checkpoint.every_steps={every}")
    _die(config, tmp_path, steps)
    _run(config, tmp_path)
    _same(_end(tmp_path), unbroken)


def test_a_run_that_dies_again_and_again_ends_as_the_unbroken_one(unbroken, small, tmp_path):
    config = small(*STAGES, "checkpoint.every_steps=1")
    for steps in (2, 1, 3, 2):
        _die(config, tmp_path, steps)
    _run(config, tmp_path)
    _same(_end(tmp_path), unbroken)


def test_how_often_checkpoints_are_written_changes_nothing(unbroken, small, tmp_path):
    _run(small(*STAGES, "checkpoint.every_steps=1", "checkpoint.every_minutes=0.001"), tmp_path)
    _same(_end(tmp_path), unbroken)


def _attempt(rank, url, root, steps, overrides, poisoned=()):
    config = settings(url, *STAGES, *overrides)
    with poison(poisoned, only_rank=comm.world_size() - 1):
        if steps is None:
            _run(config, root)
        else:
            _die(config, root, steps)
    comm.barrier()


@pytest.mark.parametrize(
    ("world", "method"),
    [(2, "retdm"), (2, "retdm-four-way"), (2, "center"), (2, "c2ae"), (3, "retdm")],
)
def test_several_ranks_resume_inside_an_epoch(shards, ranks, tmp_path, world, method):
    own = (f"method={method}", "data.batch_size=18")
    ranks(world).run(_attempt, shards, tmp_path / "whole", None, own)
    often = (*own, "checkpoint.every_steps=1")
    ranks(world).run(_attempt, shards, tmp_path / "cut", 5, often)
    ranks(world).run(_attempt, shards, tmp_path / "cut", None, often)
    _same(_end(tmp_path / "cut"), _end(tmp_path / "whole"))


@pytest.mark.parametrize("world", [1, 2])
def test_a_run_that_skips_steps_resumes_before_between_and_after_them(
    shards, ranks, tmp_path, world
):
    def attempt(folder, steps, *more):
        ranks(world).run(_attempt, shards, tmp_path / folder, steps, more, SKIPPED)

    attempt("whole", None)
    often = "checkpoint.every_steps=1"
    for steps in (1, 1, 5):  # each of which dies in the step after so many of its own
        attempt("cut", steps, often)
    attempt("cut", None, often)
    whole = _end(tmp_path / "whole")
    _same(_end(tmp_path / "cut"), whole)
    assert [step["step"] for step in whole["skipped"]] == [step + 1 for step in SKIPPED]


def test_another_number_of_ranks_goes_on_inside_an_epoch(shards, ranks, tmp_path):
    often = ("checkpoint.every_steps=1",)
    ranks(2).run(_attempt, shards, tmp_path / "cut", 5, often)
    before = kept_checkpoints(open_store(str(tmp_path / "cut")))[-1]
    assert before.next_batch > 0
    ranks(1).run(_attempt, shards, tmp_path / "cut", None, often)
    ranks(2).run(_attempt, shards, tmp_path / "whole", None, ())
    one, other = _end(tmp_path / "cut"), _end(tmp_path / "whole")
    assert one["progress"] == other["progress"]
    # One rank normalises over the batch, two over halves: alike, but no more than that.
    for key in ("stage", "epoch", "step"):
        assert [entry[key] for entry in one["history"]] == [
            entry[key] for entry in other["history"]
        ]


def test_a_damaged_checkpoint_is_told_and_the_one_before_it_used(
    unbroken, small, tmp_path, caplog
):
    config = small(*STAGES, "checkpoint.every_steps=1")
    _die(config, tmp_path, 7)
    newest = kept_checkpoints(open_store(str(tmp_path)))[-1].name
    path = tmp_path / checkpoint.file_of(newest)
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    with caplog.at_level(logging.WARNING):
        _run(config, tmp_path)
    told = f"{checkpoint.file_of(newest)}: damaged, its SHA-256 is"
    assert any(told in text and "going back" in text for text in caplog.messages), caplog.messages
    _same(_end(tmp_path), unbroken)


def test_a_lost_checkpoint_is_told_and_the_one_before_it_used(unbroken, small, tmp_path, caplog):
    config = small(*STAGES, "checkpoint.every_steps=1")
    _die(config, tmp_path, 7)
    newest = kept_checkpoints(open_store(str(tmp_path)))[-1].name
    (tmp_path / checkpoint.file_of(newest)).unlink()
    with caplog.at_level(logging.WARNING):
        _run(config, tmp_path)
    assert any("no such file" in text and "going back" in text for text in caplog.messages)
    _same(_end(tmp_path), unbroken)


def test_a_run_without_a_whole_checkpoint_is_refused(small, tmp_path):
    config = small(*STAGES, "checkpoint.every_steps=1")
    _die(config, tmp_path, 3)
    for file in (tmp_path / checkpoint.FOLDER).iterdir():
        file.write_bytes(b"")
    message = r"none of the run's checkpoints is whole \(stage1-.*start again under another"
    with pytest.raises(CheckpointError, match=message):
        _run(config, tmp_path)
