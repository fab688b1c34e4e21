"""Both ways of the metric loss against loops, finite differences, and at their edges."""

import math
from typing import get_args

import pytest
import torch

from retdm.config import LossSettings
from retdm.losses import pair_distance, way

SCORES = get_args(LossSettings.model_fields["score"].annotation)
PENALTIES = get_args(LossSettings.model_fields["penalty"].annotation)


def reference_distance(a, b, settings):
    if settings.score == "unit_sq_tau":
        a = [x / math.sqrt(sum(v * v for v in a)) for x in a]
        b = [x / math.sqrt(sum(v * v for v in b)) for x in b]
    total = sum((x - y) ** 2 for x, y in zip(a, b, strict=True))
    return total if "sq" in settings.score else math.sqrt(total)


def reference(own, others, settings):
    """One anchor in plain Python."""
    score = {
        "neg_dist": lambda d: -d,
        "neg_sq_dist": lambda d: -d,
        "neg_dist_tau": lambda d: -d / settings.tau,
        "unit_sq_tau": lambda d: -d / settings.tau,
        "inv": lambda d: 1 / (1 + d),
    }[settings.score]
    top = math.exp(score(own))
    nll = -math.log(top / (top + sum(math.exp(score(d)) for d in others)))
    violated = sum(own >= d for d in others)
    each = {
        "nll": lambda d: 0,
        "nll_weighted": lambda d: 0,
        "nll_plus_hinge": lambda d: max(0, own - d),
        "nll_plus_hinge_margin": lambda d: max(0, settings.margin + own - d),
        "nll_plus_softplus": lambda d: math.log(1 + math.exp(own - d)),
    }[settings.penalty]
    penalty = sum(each(d) for d in others)
    if settings.penalty_reduction == "mean" and others:
        penalty /= len(others)
    factor = 1 + violated if settings.penalty == "nll_weighted" else 1
    return factor * nll + penalty, violated / max(len(others), 1)


def case(batch=6, k=4, embed=3):
    rng = torch.Generator().manual_seed(1)
    draw = lambda *shape: torch.randn(shape, generator=rng, dtype=torch.float64)
    mask = torch.rand(batch, k, generator=rng) < 0.7
    mask[0], mask[1] = True, False
    return draw(batch, embed), draw(batch, embed), draw(batch, k, embed), mask


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_matches_the_loops(score, penalty, reduction):
    settings = LossSettings(
        score=score, penalty=penalty, penalty_reduction=reduction, margin=0.7, tau=0.4
    )
    a, b, near, mask = case()
    own = pair_distance(a, b, settings)
    found = way(own, pair_distance(a[:, None], near, settings), mask, settings)
    for i in range(len(a)):
        x, y = a[i].tolist(), b[i].tolist()
        others = [
            reference_distance(x, near[i, j].tolist(), settings)
            for j in range(near.shape[1])
            if mask[i, j]
        ]
        loss, violations = reference(reference_distance(x, y, settings), others, settings)
        assert found.loss[i].item() == pytest.approx(loss, rel=1e-9, abs=1e-9)
        assert found.violations[i].item() == violations


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("penalty", PENALTIES)
@pytest.mark.parametrize("reduction", ["sum", "mean"])
def test_gradients_are_those_of_finite_differences(score, penalty, reduction):
    settings = LossSettings(score=score, penalty=penalty, penalty_reduction=reduction)
    a, b, near, mask = case(batch=3, k=3)
    inputs = [x.clone().requires_grad_() for x in (a, b, near)]

    def losses(a, b, near):
        other = pair_distance(a[:, None], near, settings)
        return way(pair_distance(a, b, settings), other, mask, settings).loss

    assert torch.autograd.gradcheck(losses, inputs)


def gradient(penalty, own, others, **more):
    settings = LossSettings(score="neg_dist", penalty=penalty, **more)
    own = torch.tensor([own], dtype=torch.float64, requires_grad=True)
    other = torch.tensor([others], dtype=torch.float64)
    way(own, other, torch.ones_like(other, dtype=torch.bool), settings).loss.backward()
    return own.grad.item()


@pytest.mark.parametrize(
    "own, others, expected",
    [
        (1.0, [5.0, 6.0, 7.0], [0.027, 0.027, 0.027, 0.027]),
        (2.0, [2.0, 2.0, 2.0], [0.75, 0.75, 3.75, 3.0]),
        (5.0, [1.0, 6.0, 7.0], [0.98, 1.98, None, 1.97]),
    ],
)
def test_pull_on_the_own_distance_by_penalty(own, others, expected):
    names = ["nll", "nll_plus_hinge", "nll_plus_hinge_margin", "nll_weighted"]
    for name, value in zip(names, expected, strict=True):
        if value is not None:
            assert gradient(name, own, others) == pytest.approx(value, abs=0.01)


@pytest.mark.parametrize("score", SCORES)
@pytest.mark.parametrize("penalty", PENALTIES)
def test_no_neighbours_give_zero_and_no_gradient(score, penalty):
    settings = LossSettings(score=score, penalty=penalty)
    own = torch.tensor([2.0], requires_grad=True)
    other = torch.tensor([[1.0, 3.0]], requires_grad=True)
    found = way(own, other, torch.zeros(1, 2, dtype=torch.bool), settings)
    found.loss.sum().backward()
    assert found.loss.item() == 0
    assert found.violations.item() == 0
    assert own.grad.item() == 0
    assert other.grad.tolist() == [[0, 0]]


@pytest.mark.parametrize("score", SCORES)
def test_coinciding_embeddings_have_a_finite_gradient(score):
    settings = LossSettings(score=score)
    x = torch.zeros(1, 4, requires_grad=True)
    near = torch.zeros(1, 2, 4, requires_grad=True)
    own = pair_distance(x, torch.zeros(1, 4), settings)
    other = pair_distance(x[:, None], near, settings)
    way(own, other, torch.ones(1, 2, dtype=torch.bool), settings).loss.sum().backward()
    assert x.grad.isfinite().all()
    assert near.grad.isfinite().all()


def test_huge_distances_stay_finite():
    settings = LossSettings(score="neg_sq_dist")
    own, other = torch.tensor([1e8]), torch.tensor([[1.0, 2e8]])
    found = way(own, other, torch.ones(1, 2, dtype=torch.bool), settings)
    assert found.loss.isfinite().all()
