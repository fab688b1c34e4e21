"""The two per-image terms against loops."""

import math

import pytest
import torch

from retdm.losses import bce, reconstruction


def case():
    rng = torch.Generator().manual_seed(2)
    logits = torch.randn(4, 3, generator=rng, dtype=torch.float64)
    return logits, torch.rand(4, 3, generator=rng) < 0.5


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_bce_matches_the_loops(reduction):
    logits, targets = case()
    for row, found in enumerate(bce(logits, targets, reduction=reduction).tolist()):
        each = []
        for z, y in zip(logits[row].tolist(), targets[row].tolist(), strict=True):
            p = 1 / (1 + math.exp(-z))
            each.append(-math.log(p) if y else -math.log(1 - p))
        assert found == pytest.approx(sum(each) / (len(each) if reduction == "mean" else 1))


def test_bce_of_huge_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = bce(logits, torch.tensor([[False, True]]), reduction="sum")
    loss.sum().backward()
    assert loss.item() == 2e4
    assert logits.grad.isfinite().all()


def test_reconstruction_matches_the_loops():
    decoded, targets = case()
    for row, found in enumerate(reconstruction(decoded, targets).tolist()):
        pairs = zip(decoded[row].tolist(), targets[row].tolist(), strict=True)
        assert found == pytest.approx(sum((d - y) ** 2 for d, y in pairs) / 3)


@pytest.mark.parametrize("loss", [lambda x, y: bce(x, y, reduction="mean"), reconstruction])
def test_gradients_are_those_of_finite_differences(loss):
    values, targets = case()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), values.requires_grad_())
