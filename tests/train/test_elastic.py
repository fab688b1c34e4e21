"""A run whose number of ranks changes goes as one that has the same ranks all the time."""

import itertools
import json

import pytest
import torch

from retdm import comm
from retdm.storage import open_store
from retdm.train import checkpoint
from retdm.train.history import kept_checkpoints
from retdm.train.keeper import Keeper
from retdm.train.loop import train
from retdm.train.session import LocalSession
from retdm.train.step import Stepper
from tests.train.conftest import settings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(900)]
OWN = (
    "run.micro_batches=3",
    "run.log_every_steps=1",
    "checkpoint.every_steps=1",
    "data.image_size=64",
    # Without batch normalisation: over a few images it turns rounding into noise within steps.
    "model.backbone=squeezenet1_1",
    "model.dropout=0.3",
    "optimizer.lr=0.001",
    "optimizer.min_lr=0.0001",
    "stages.1.epochs=2",
    "stages.3.epochs=2",
)
# Sums are taken in another order, in float32, and each step carries on what differs: weights that
# are changed in the last bit at the start move the losses of such a run by 1e-4. In float64, and
# with batch normalisation, test_micro_batches.py sees 1e-10.
CLOSE = {"rtol": 1e-3, "atol": 1e-4}


class Gone(Exception):
    """Stands for workers that are taken away."""


def _attempt(rank, url, root, steps):
    """Train to the end, or for `steps` steps."""
    taken = itertools.count()

    def one(self, batch, whole=Stepper.train):
        if next(taken) == steps:
            raise Gone
        return whole(self, batch)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Stepper, "train", one)
        patch.setattr(Keeper, "busy", False)
        try:
            train(settings(url, *OWN), LocalSession(), open_store(str(root)))
        except Gone:
            assert steps is not None
    comm.barrier()


def _lines(root):
    lines = [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]
    return [line for line in lines if line["kind"] == "step"]


def _last(root):
    name = kept_checkpoints(open_store(str(root)))[-1].name
    return checkpoint.load(root / checkpoint.file_of(name))


def test_ranks_that_come_and_go_change_nothing_but_rounding(shards, ranks, tmp_path):
    ranks(3).run(_attempt, shards, tmp_path / "fixed", None, timeout_s=900)
    changing = tmp_path / "changing"
    for world, steps in ((1, 3), (3, 6), (2, 4), (1, None)):
        ranks(world).run(_attempt, shards, changing, steps, timeout_s=900)
    wanted, found = _lines(tmp_path / "fixed"), _lines(changing)
    assert [line["step"] for line in found] == list(range(1, len(wanted) + 1))
    pairs = list(zip(found, wanted, strict=True))
    differences = [abs(one["total"] - other["total"]) / other["total"] for one, other in pairs]
    print("relative differences of the loss:", " ".join(f"{value:.0e}" for value in differences))
    for one, other in pairs:
        assert one.keys() == other.keys()
        for part in one.keys() - {"kind"}:
            torch.testing.assert_close(one[part], other[part], **CLOSE)
    fixed, last = _last(tmp_path / "fixed"), _last(changing)
    assert last.progress == fixed.progress
    # The bank holds the same images at the same places, embedded alike.
    for name in ("set_ids", "samples", "steps"):
        assert torch.equal(last.bank[name], fixed.bank[name])
