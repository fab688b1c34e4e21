"""The asymmetric loss against loops, finite differences, and at its edges."""

import math

import pytest
import torch

from retdm.losses import asl, bce

DEFAULT = {"gamma_neg": 4.0, "gamma_pos": 1.0, "clip": 0.05}


def case():
    rng = torch.Generator().manual_seed(2)
    logits = 3 * torch.randn(6, 5, generator=rng, dtype=torch.float64)
    return logits, torch.rand(6, 5, generator=rng) < 0.5


def reference(z, y, gamma_neg, gamma_pos, clip):
    p = 1 / (1 + math.exp(-z))
    if y:
        return -((1 - p) ** gamma_pos) * math.log(p)
    shifted = max(p - clip, 0)
    return -(shifted**gamma_neg) * math.log(1 - shifted)


SETTINGS = [
    DEFAULT,
    {"gamma_neg": 2.0, "gamma_pos": 0.0, "clip": 0.05},
    {"gamma_neg": 0.5, "gamma_pos": 0.5, "clip": 0.2},
    {"gamma_neg": 3.0, "gamma_pos": 1.0, "clip": 0.0},
]


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_matches_the_loops(settings, reduction):
    logits, targets = case()
    found = asl(logits, targets, reduction=reduction, **settings)
    for row, value in enumerate(found.tolist()):
        pairs = zip(logits[row].tolist(), targets[row].tolist(), strict=True)
        total = sum(reference(z, y, **settings) for z, y in pairs)
        assert value == pytest.approx(total / (5 if reduction == "mean" else 1), rel=1e-12)


@pytest.mark.parametrize("settings", SETTINGS)
def test_gradients_are_those_of_finite_differences(settings):
    logits, targets = case()
    loss = lambda x: asl(x, targets, reduction="sum", **settings)
    assert torch.autograd.gradcheck(loss, logits.requires_grad_())


def test_without_focusing_and_clipping_it_is_bce():
    logits, targets = case()
    plain = asl(logits, targets, gamma_neg=0, gamma_pos=0, clip=0, reduction="mean")
    torch.testing.assert_close(plain, bce(logits, targets, reduction="mean"))


@pytest.mark.parametrize("settings", SETTINGS)
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_any_logit_gives_finite_loss_and_gradient(settings, dtype):
    edge = math.log(settings["clip"] / (1 - settings["clip"])) if settings["clip"] else 0
    values = torch.tensor([-1e4, -104, -20, edge, 0, 20, 104, 1e4], dtype=dtype)
    for present in (True, False):
        logits = values[None].clone().requires_grad_()
        loss = asl(logits, torch.full((1, 8), present), reduction="sum", **settings)
        loss.sum().backward()
        assert loss.isfinite().all()
        assert logits.grad.isfinite().all()


def test_an_absent_label_below_the_clip_counts_nothing():
    logits = torch.tensor([[-4.0, -3.0]], requires_grad=True)  # p = .018, .047
    loss = asl(logits, torch.zeros(1, 2, dtype=torch.bool), reduction="sum", **DEFAULT)
    loss.sum().backward()
    assert loss.item() == 0
    assert (logits.grad == 0).all()
