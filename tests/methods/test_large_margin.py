"""The large-margin metric against its definition, written out in loops."""

from itertools import pairwise

import numpy as np
import pytest
import torch
from sklearn.linear_model import Ridge

from retdm.methods import large_margin
from retdm.methods.large_margin import (
    MarginObjective,
    learn_metric,
    nearest,
    positive_part,
    ridge_regression,
)
from tests.methods.given_gradient import GivenGradient

IMAGES, LABELS, K, COST = 30, 4, 5, 2.0


@pytest.fixture(params=[2**24, 20], ids=["at-once", "in-chunks"], autouse=True)
def chunks(request, monkeypatch):
    monkeypatch.setattr(large_margin, "_CELLS", request.param)


@pytest.fixture
def problem():
    rng = torch.Generator().manual_seed(0)
    targets = torch.rand(IMAGES, LABELS, generator=rng) < 0.4
    projected = targets + 0.6 * torch.randn(IMAGES, LABELS, generator=rng, dtype=torch.float64)
    return projected, targets, nearest(projected, projected, K)


def slow_objective(projected, targets, neighbours, metric):
    slacks = []
    for i in range(len(targets)):
        for j in neighbours[i].tolist():
            own = projected[i] - targets[i].astype(float)
            other = projected[i] - targets[j].astype(float)
            hamming = sum(a != b for a, b in zip(targets[i], targets[j], strict=True))
            slack = max(0.0, own @ metric @ own + hamming - other @ metric @ other)
            slacks += [slack**2] if hamming else []
    return 0.5 * np.trace(metric) + COST * np.mean(slacks)


def random_metric():
    root = torch.randn(LABELS, LABELS, generator=torch.Generator().manual_seed(1)).double()
    return root @ root.T


def test_objective_is_its_definition(problem):
    metric = random_metric()
    value, _ = MarginObjective(*problem, cost=COST).value_and_gradient(metric)
    projected, targets, neighbours = problem
    expected = slow_objective(projected.numpy(), targets.numpy(), neighbours, metric.numpy())
    assert float(value) == pytest.approx(expected)


def test_gradient_is_that_of_the_objective(problem):
    objective, metric = MarginObjective(*problem, cost=COST), random_metric().requires_grad_()
    value = lambda metric: GivenGradient.apply(metric, objective.value_and_gradient)
    assert torch.autograd.gradcheck(value, (metric,))


def test_objective_never_rises_and_ends_where_no_step_helps(problem):
    objective = MarginObjective(*problem, cost=COST)
    metric, values = learn_metric(objective, LABELS, iterations=500)
    assert values[0] == pytest.approx(
        float(objective.value_and_gradient(torch.eye(LABELS, dtype=torch.float64))[0])
    )
    assert all(later <= earlier for earlier, later in pairwise(values))
    assert values[-1] < 0.98 * values[0]
    assert torch.linalg.eigvalsh(metric).min() > -1e-9
    # A fixed point of the projected step is a minimum of a convex objective.
    _, gradient = objective.value_and_gradient(metric)
    torch.testing.assert_close(positive_part(metric - gradient), metric, atol=1e-3, rtol=0)
    for seed in range(20):
        rng = torch.Generator().manual_seed(seed)
        near = torch.randn(LABELS, LABELS, generator=rng, dtype=torch.float64)
        other = positive_part(metric + 0.1 * (near + near.T))
        assert float(objective.value_and_gradient(other)[0]) >= values[-1] - 1e-9


def test_equal_label_vectors_ask_for_nothing():
    targets = torch.ones(6, 2, dtype=torch.bool)
    points = torch.arange(12.0).view(6, 2).double()
    objective = MarginObjective(points, targets, nearest(points, points, 3), cost=1.0)
    assert objective.pairs.shape[1] == 0
    metric, _ = learn_metric(objective, 2, iterations=50)
    torch.testing.assert_close(metric, torch.zeros_like(metric))


def test_nearest_are_those_of_all_distances():
    rng = torch.Generator().manual_seed(2)
    points, queries = torch.randn(23, 3, generator=rng), torch.randn(7, 3, generator=rng)
    expected = [
        sorted(range(23), key=lambda j, q=q: float((q - points[j]).norm()))[:K] for q in queries
    ]
    assert nearest(queries, points, K).tolist() == expected


def test_neighbours_come_from_other_groups():
    rng = torch.Generator().manual_seed(3)
    points, groups = torch.randn(12, 2, generator=rng), torch.arange(12) % 3
    expected = [
        sorted(
            (j for j in range(12) if groups[j] != groups[i]),
            key=lambda j, p=point: float((p - points[j]).norm()),
        )[:K]
        for i, point in enumerate(points)
    ]
    assert nearest(points, points, K, groups=groups).tolist() == expected


def test_where_all_are_of_one_group_anybody_is_a_neighbour():
    points = torch.randn(4, 2, generator=torch.Generator().manual_seed(3))
    assert nearest(points, points, 9, groups=torch.zeros(4, dtype=torch.int64)).shape == (4, 4)


@pytest.mark.parametrize("width", [3, 50])
def test_regression_is_scikit_learns(width):
    rng = torch.Generator().manual_seed(4)
    features = torch.randn(20, width, generator=rng)
    features -= features.mean(dim=0)
    targets = torch.rand(20, LABELS, generator=rng) < 0.5
    weight, bias = ridge_regression(features, targets, ridge=0.3)
    reference = Ridge(alpha=0.3 * 20).fit(features.double().numpy(), targets.double().numpy())
    np.testing.assert_allclose(weight, reference.coef_, rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose(bias, reference.intercept_, rtol=1e-4, atol=1e-6)


def test_a_negative_eigenvalue_becomes_zero():
    torch.testing.assert_close(
        positive_part(torch.diag(torch.tensor([2.0, -1.0]))), torch.diag(torch.tensor([2.0, 0.0]))
    )
