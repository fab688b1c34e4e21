"""Self-paced weights and weighted logistic regressions against plain definitions."""

import math
from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression

from retdm.methods import self_paced
from retdm.methods.self_paced import (
    WeightedLogistic,
    alternate,
    first_pace,
    pair_losses,
    pair_weights,
    regulariser,
)
from tests.methods.given_gradient import GivenGradient

IMAGES, LABELS, WIDTH = 40, 3, 6
KINDS = ["hard", "linear"]


@pytest.fixture(params=[8192, 7], ids=["at-once", "in-chunks"], autouse=True)
def chunks(request, monkeypatch):
    monkeypatch.setattr(self_paced, "_CHUNK", request.param)


@pytest.fixture
def problem():
    rng = torch.Generator().manual_seed(0)
    features = torch.randn(IMAGES, WIDTH, generator=rng)
    noise = torch.randn(IMAGES, LABELS, generator=rng)
    targets = features @ torch.randn(WIDTH, LABELS, generator=rng) + 2 * noise > 1
    return features, targets


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_the_least_over_all_values(kind):
    grid = torch.linspace(0, 1, 1001, dtype=torch.float64)
    for loss in (0.0, 0.1, 0.69, 0.99, 1.01, 3.0):
        for pace in (0.2, 1.0, 2.5):
            values = grid * loss + regulariser(grid, torch.tensor(pace), kind)
            best = float(grid[values.argmin()])
            given = pair_weights(torch.tensor([[loss]]), torch.tensor([pace]), kind)
            assert float(given) == pytest.approx(best, abs=1e-3), (loss, pace)


def test_losses_are_those_of_the_logistic_model():
    logits = torch.tensor([[2.0, -1.0]], dtype=torch.float64)
    losses = pair_losses(logits, torch.tensor([[True, True]])).tolist()[0]
    assert losses == pytest.approx([math.log(1 + math.exp(-2)), math.log(1 + math.exp(1))])


def test_the_first_pace_lets_half_of_each_class_in():
    rng = torch.Generator().manual_seed(1)
    targets = torch.zeros(1000, 2, dtype=torch.bool)
    targets[:9, 0] = True  # rare
    targets[:500, 1] = True
    losses = torch.rand(1000, 2, generator=rng) + 5 * targets  # positives are the hard ones
    weights = pair_weights(losses, first_pace(losses, targets) * 1.00001, "hard")
    for label in range(2):
        present = targets[:, label]
        assert float(weights[present, label].mean()) == pytest.approx(0.5, abs=0.06)
        assert float(weights[~present, label].mean()) == 1.0


@pytest.mark.parametrize("kind", KINDS)
def test_a_single_positive_is_let_in(kind):
    targets = torch.tensor([[True], [False], [False]])
    losses = torch.tensor([[9.0], [0.1], [0.2]])
    assert (pair_weights(losses, first_pace(losses, targets) * 1.3, kind) > 0).all()


def test_a_label_that_is_never_there_has_the_pace_of_its_negatives():
    losses = torch.tensor([[0.3], [0.1], [0.2]])
    assert first_pace(losses, torch.zeros(3, 1, dtype=torch.bool)).tolist() == pytest.approx([0.2])


def test_gradient_is_that_of_the_value(problem):
    features, targets = problem
    model = WeightedLogistic(features, targets, ridge=0.01)
    rng = torch.Generator().manual_seed(2)
    weights = torch.rand(IMAGES, LABELS, generator=rng, dtype=torch.float64)
    point = torch.randn(LABELS, WIDTH + 1, generator=rng, dtype=torch.float64)
    _, gradient = model.value_and_gradient(point, weights)
    free = point.clone().requires_grad_()
    losses = pair_losses(features.double() @ free[:, :-1].T + free[:, -1], targets)
    value = (weights * losses).sum() / IMAGES + 0.01 * free[:, :-1].square().sum()
    value.backward()
    torch.testing.assert_close(gradient, free.grad)
    torch.testing.assert_close(model.value_and_gradient(point, weights)[0], value.detach())
    given = lambda point: GivenGradient.apply(
        point, lambda at: model.value_and_gradient(at, weights)
    )
    assert torch.autograd.gradcheck(given, (free,))


def test_classifiers_are_scikit_learns(problem):
    features, targets = problem
    rng = torch.Generator().manual_seed(3)
    weights = torch.rand(IMAGES, LABELS, generator=rng, dtype=torch.float64)
    model = WeightedLogistic(features, targets, ridge=0.01)
    model.fit(weights)
    for label in range(LABELS):
        reference = LogisticRegression(C=1 / (2 * 0.01 * IMAGES), tol=1e-10, max_iter=10000)
        reference.fit(
            features.double().numpy(),
            targets[:, label].numpy(),
            sample_weight=weights[:, label].numpy(),
        )
        found = model.parameters[label].numpy()
        np.testing.assert_allclose(found[:-1], reference.coef_[0], atol=1e-4)
        np.testing.assert_allclose(found[-1], reference.intercept_[0], atol=1e-4)


@pytest.mark.parametrize("kind", KINDS)
def test_the_objective_falls_in_every_half_round_of_one_pace(problem, kind):
    features, targets = problem
    model = WeightedLogistic(features, targets, ridge=0.01)
    model.fit(torch.ones(IMAGES, LABELS, dtype=torch.float64))
    pace = first_pace(pair_losses(model.logits(), targets), targets) * 1.3
    values = [value for _ in range(6) for value in alternate(model, pace, kind)]
    assert all(b <= a + 1e-12 for a, b in pairwise(values))
    assert values[-1] < values[0]


def test_a_label_that_is_never_there_stays_finite(problem):
    features, _ = problem
    model = WeightedLogistic(features, torch.zeros(IMAGES, 1, dtype=torch.bool), ridge=0.01)
    model.fit(torch.ones(IMAGES, 1, dtype=torch.float64))
    assert torch.isfinite(model.parameters).all()
    assert model.logits().sigmoid().max() < 0.05
