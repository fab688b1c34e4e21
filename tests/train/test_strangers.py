"""Checkpoints that hold what a checkpoint holds, and not of this run: each is refused by name."""

import logging
import re
import shutil
from dataclasses import replace

import pytest
import torch

from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train.history import kept_checkpoints
from retdm.train.loop import train
from retdm.train.session import LocalSession
from tests.checkpoints import rewrite
from tests.train.conftest import settings
from tests.train.test_resume import _die

pytestmark = pytest.mark.slow
OWN = ("method=retdm", "checkpoint.metric=CF1", "checkpoint.every_steps=1")
BIAS = "parts.classifier.bias"


@pytest.fixture(scope="module")
def died(shards, tmp_path_factory):
    """Folder of a run that died inside stage 3."""
    folder = tmp_path_factory.mktemp("died")
    _die(settings(shards, *OWN), folder, 8)
    return folder


@pytest.fixture
def copy(died, tmp_path):
    """`copy(edit)`: a copy of that run with another newest checkpoint, and its name."""

    def copied(edit):
        folder = shutil.copytree(died, tmp_path / "run")
        name = kept_checkpoints(open_store(str(folder)))[-1].name
        rewrite(folder, name, edit)
        return folder, name

    return copied


def _go_on(shards, folder, *more):
    return train(settings(shards, *OWN, *more), LocalSession(), open_store(str(folder)))


def _lacks_a_weight(state):
    del state.model[BIAS]


def _has_a_weight_of_another_shape(state):
    state.model[BIAS] = torch.zeros(99)


def _has_a_weight_outside_the_parts(state):
    state.model["image.weight"] = torch.zeros(1)


def _is_in_another_stage(state):
    state.progress = replace(state.progress, stage="nine")


def _is_after_the_end_of_its_epoch(state):
    state.progress = replace(state.progress, data=replace(state.progress.data, next_batch=99))


def _has_another_metric(state):
    del state.history[0]["val/CF1"]


def _has_momentum_of_another_shape(state):
    state.optimizer["sgd"]["state"][0]["momentum_buffer"] = torch.zeros(99)


def _has_momentum_of_another_parameter(state):
    state.optimizer["sgd"]["state"][999] = {"momentum_buffer": torch.zeros(99)}


def _has_other_statistics(state):
    state.statistics = torch.zeros(1, 99)


def _has_a_bank_of_another_size(state):
    state.bank["steps"] = torch.zeros(99, dtype=torch.int64)


def _has_a_bank_of_other_numbers(state):
    state.bank["steps"] = state.bank["steps"].cfloat()


def _has_a_setting_of_another_kind(state):
    state.config["seed"] = "x"


def _has_another_method(state):
    state.config["method"] = "nine"


def _has_other_labels(state):
    state.labels = (*state.labels[:-1], "other")


BOTH = {
    _lacks_a_weight: rf'weights do not fit its settings .*Missing key.* "{BIAS}"\. *\); use ano',
    _has_a_weight_of_another_shape: rf"weights do not fit .*size mismatch for {BIAS}.*; use anoth",
    _has_a_weight_outside_the_parts: r"weights do not fit its settings .*Unexpected key.*; use an",
    _is_in_another_stage: "stands in stage 'nine', this run has 1, 2, 3, fit; use an earlier one,",
    _is_after_the_end_of_its_epoch: "after 99 batches of an epoch, this run's have 3; use an earl",
    _has_another_metric: "stands after an epoch without val/CF1; use an earlier one, or another -",
    _has_momentum_of_another_shape: r"momentum of parameter 0 is \(99,\) of .*; use an earlier",
    _has_momentum_of_another_parameter: "momentum of parameter 999 .*no such parameter; use an e",
    _has_other_statistics: "has 99 running statistics, this run's image net has .*; use an earli",
    _has_other_labels: "use the shard set it was trained on",
}
RESUMED = {
    _has_a_bank_of_another_size: r"bank has steps of shape \(99,\) of torch.int64, this run's has",
    _has_a_bank_of_other_numbers: r"bank has steps of shape \(24,\) of torch.complex64, this run",
    _has_a_setting_of_another_kind: r"other settings \(seed: x -> 0\); use the same or another",
}
STARTED = {
    _has_a_setting_of_another_kind: "seed is 'x': .*; give a checkpoint of a run of this version",
    _has_another_method: "'nine' is not known; .*; give a checkpoint of a run of this version",
}


def _name(value):
    return value.__name__[1:] if callable(value) else ""


@pytest.mark.parametrize(("edit", "told"), (BOTH | RESUMED).items(), ids=_name)
def test_a_run_does_not_go_on_from_a_checkpoint_that(shards, copy, edit, told):
    folder, _ = copy(edit)
    with pytest.raises(CheckpointError, match=re.compile(told, re.DOTALL)):
        _go_on(shards, folder)


@pytest.mark.parametrize(("edit", "told"), (BOTH | STARTED).items(), ids=_name)
def test_a_run_does_not_start_from_a_checkpoint_that(shards, copy, tmp_path, edit, told):
    folder, name = copy(edit)
    with pytest.raises(CheckpointError, match=re.compile(told, re.DOTALL)):
        _go_on(shards, tmp_path / "new", f"start_from={folder}/{name}")


def test_a_weight_of_no_part_is_named(shards, copy, tmp_path):
    folder, name = copy(lambda state: state.model.update(weight=torch.zeros(1)))
    with pytest.raises(CheckpointError, match=r"parts that method retdm lacks \(weight\); give"):
        _go_on(shards, tmp_path / "new", f"start_from={folder}/{name}")


def test_a_run_goes_back_where_the_newest_checkpoint_has_tables_of_another_kind(
    shards, copy, caplog
):
    folder, _ = copy(lambda state: state.tally.pop("steps"))
    with caplog.at_level(logging.WARNING):
        assert _go_on(shards, folder).progress.stage == "3"
    told = "not a whole checkpoint (tally.steps: Field required); use an earlier"
    assert any(told in line and "going back" in line for line in caplog.messages)
