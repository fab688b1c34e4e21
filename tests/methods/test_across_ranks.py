"""What holds on one process holds on several: gradients, weights, losses and the bank."""

from typing import get_args

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config, LossSettings, parse
from retdm.data.batch import Batch
from retdm.methods import METHODS, StepContext

SAMPLES, LABELS, WIDTH, SIDE = 40, 5, 6, 8
ALL = frozenset({"classification", "metric", "reconstruction"})


def tiny_image_net():
    """Smooth and without batch normalisation, whose statistics are those of a rank."""
    return nn.Sequential(
        Scale(), nn.Conv2d(3, 4, 3), nn.Tanh(), nn.Flatten(), nn.Linear(4 * 36, WIDTH)
    )


class Scale(nn.Module):
    def __init__(self):
        super().__init__()
        self.register_buffer("by", torch.tensor(255.0))

    def forward(self, images):
        return images.to(self.by.dtype) / self.by


def config(method="retdm", own=(), **loss):
    """Settings with `own` tables of the method."""
    table = {"method": method, "model": {"embedding": WIDTH}, "loss": {"k": 3, **loss}}
    return parse(Config, table | dict(own), source="test")


def table():
    rng = np.random.Philox(3)
    return torch.from_numpy(np.random.Generator(rng).random((SAMPLES, LABELS)) < 0.4)


def images_of(indices):
    out = torch.empty(len(indices), 3, SIDE, SIDE, dtype=torch.uint8)
    for row, index in enumerate(indices.tolist()):
        rng = np.random.Generator(np.random.Philox(1000 + index))
        out[row] = torch.from_numpy(rng.integers(0, 256, (3, SIDE, SIDE), dtype=np.uint8))
    return out


def local_batch(order, rank, world):
    """This rank's contiguous part, padded by repeating the batch's first samples."""
    rows = max(-(-len(order) // world), 2)
    cut = np.array_split(order, world)[rank]  # earlier ranks larger by one
    padded = np.concatenate([cut, order[: rows - len(cut)]])
    indices = torch.from_numpy(padded)
    valid = torch.arange(rows) < len(cut)
    return Batch(images_of(indices), table()[indices], indices, valid, len(order))


def train(rank, world, settings, sizes, *, dtype=torch.float64, freeze=()):
    """A few SGD steps on global batches of `sizes`; everything that must agree afterwards."""
    torch.manual_seed(0)
    method = METHODS[settings.method].make(settings, tiny_image_net(), LABELS).to(dtype)
    for part in freeze:
        method.parts[part].eval().requires_grad_(False)
    module = DistributedDataParallel(method, forward_sync_buffers=False) if world > 1 else method
    trained = [p for p in method.parameters() if p.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=0.05, momentum=0.9)
    label_sets, bank = LabelSets(table()), Bank(11, WIDTH, dtype=dtype)
    logs, grads, start = [], [], 0
    for step, size in enumerate(sizes):
        order = (np.arange(start, start + size) * 7) % SAMPLES
        start += size
        context = StepContext(
            losses=ALL & method.losses,
            bank=bank,
            use_bank=step > 0,
            label_sets=label_sets,
            seed=5,
            step=step,
        )
        optimizer.zero_grad()
        output = module(local_batch(order, rank, world), context)
        output.total.backward()
        grads.append([p.grad.clone() for p in trained])
        optimizer.step()
        if output.rows is not None:
            bank.push(output.rows, step=step)
        logs.append({name: comm.all_sum(value) for name, value in output.parts.items()})
    return {
        "grads": grads,
        "weights": method.state_dict(),
        "bank": bank.state_dict(),
        "logs": logs,
    }


def ddp_train(rank, world, settings, sizes, options):
    return train(rank, world, settings, sizes, **options)


READINGS = {
    "default": config(),
    "literal": config(score="neg_dist", penalty="nll_plus_hinge", bce_reduction="mean"),
    "unit, margin": config(score="unit_sq_tau", penalty="nll_plus_hinge_margin", gamma=0.5),
    "exact": config(neighbours="exact", penalty="nll_weighted", penalty_reduction="mean"),
    "batch": config(neighbours="batch", score="neg_sq_dist", penalty="nll_plus_softplus"),
    "tau": config(score="neg_dist_tau"),
    "inv": config(score="inv", penalty="nll_plus_hinge", penalty_reduction="mean"),
    "instances": config(neighbour_unit="instances"),
    "instances, exact": config(neighbour_unit="instances", neighbours="exact"),
    "one-way": config("retdm-one-way"),
    "four-way": config("retdm-four-way"),
    "four-way, unit": config("retdm-four-way", score="unit_sq_tau", neighbours="exact"),
    "bce": config("bce"),
    "asl": config("asl"),
    "softmax": config("softmax"),
    "warp": config("warp"),
    "center, per label": config("center", {"center": {"weight": 0.5, "width": 3}}),
    "center, multi hot": config("center", {"center": {"reading": "multi_hot", "weight": 0.5}}),
    "c2ae": config("c2ae"),
    "cnn-rnn": config("cnn-rnn", {"cnn_rnn": {"hidden": 5, "label_embedding": 3}}),
    "sampled warp": config("warp", {"warp": {"rank": "sampled"}}),
}
SIZES = [7, 8, 5, 4, 2]  # 2 over 3 ranks: one of them has nothing but padding


def test_every_method_with_steps_is_here():
    stepping = {name for name, entry in METHODS.items() if entry.kind.reach}
    assert {settings.method for settings in READINGS.values()} == stepping


def test_every_score_penalty_and_source_of_neighbours_is_here():
    for name in ("score", "penalty", "penalty_reduction", "neighbours", "neighbour_unit"):
        used = {getattr(settings.loss, name) for settings in READINGS.values()}
        assert used == set(get_args(LossSettings.model_fields[name].annotation)), name


@pytest.mark.parametrize("world", [2, 3])
@pytest.mark.parametrize("name", READINGS)
def test_steps_equal_those_of_one_process(ranks, world, name):
    alone = train(0, 1, READINGS[name], SIZES)
    for found in ranks(world).run(ddp_train, world, READINGS[name], SIZES, {}):
        torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-12)


@pytest.mark.parametrize("world", [2, 3])
def test_float32_gradient_agrees_to_its_precision(ranks, world):
    options = {"dtype": torch.float32}
    alone = train(0, 1, READINGS["default"], [7, 8], **options)
    # Gradients are sums of terms of size 1 or so, some of which cancel: what remains is uncertain
    # by some units in the last place of the terms, how many depends on the processor's kernels.
    # That the sums are the same ones, float64 shows above.
    ulps = 64 * torch.finfo(torch.float32).eps
    for found in ranks(world).run(ddp_train, world, READINGS["default"], [7, 8], options):
        torch.testing.assert_close(found["grads"], alone["grads"], rtol=1e-5, atol=ulps)


@pytest.mark.parametrize("world", [2, 3])
def test_a_frozen_image_net_gives_equal_steps_too(ranks, world):
    options = {"freeze": ("image", "classifier")}
    alone = train(0, 1, READINGS["default"], SIZES, **options)
    for found in ranks(world).run(ddp_train, world, READINGS["default"], SIZES, options):
        torch.testing.assert_close(found, alone, rtol=1e-10, atol=1e-12)


def test_ranks_hold_the_same_bank_to_the_bit(ranks):
    first, *others = ranks(3).run(ddp_train, 3, READINGS["default"], SIZES, {})
    assert first["bank"]["written"] == sum(SIZES)
    for other in others:
        torch.testing.assert_close(other["bank"], first["bank"], rtol=0, atol=0)


def without_shared_gradient(rank, world):
    original = comm.gather_rows_autograd
    comm.gather_rows_autograd = comm.gather_rows
    try:
        return train(rank, world, READINGS["default"], [8])
    finally:
        comm.gather_rows_autograd = original


def test_a_gather_without_gradient_would_be_noticed(ranks):
    """Guards the tests above: the same loss, but another gradient."""
    alone = train(0, 1, READINGS["default"], [8])
    found = ranks(2).run(without_shared_gradient, 2)[0]
    torch.testing.assert_close(found["logs"], alone["logs"])
    difference = found["grads"][0][0] - alone["grads"][0][0]
    assert difference.norm() > 0.01 * alone["grads"][0][0].norm()
