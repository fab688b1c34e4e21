"""Distances, above all where points coincide."""

import pytest
import torch

from retdm.losses import euclidean, squared, unit


def test_euclidean_matches_a_loop():
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randn(4, 5, generator=rng).double(), torch.randn(4, 5, generator=rng).double()
    for row in range(4):
        expected = sum((x - y) ** 2 for x, y in zip(a[row].tolist(), b[row].tolist(), strict=True))
        torch.testing.assert_close(squared(a, b)[row].item(), expected)
        torch.testing.assert_close(euclidean(a, b)[row].item(), expected**0.5)


def test_near_points_far_from_the_origin_keep_their_distance():
    a = torch.full((1, 512), 100.0)
    b = a.clone()
    b[0, 0] += 0.125
    assert squared(a, b).item() == 0.125**2


def test_gradient_is_bounded_and_zero_at_zero():
    x = torch.tensor([[0.0, 0.0], [1e-9, 0.0], [3.0, 4.0]], requires_grad=True)
    euclidean(x, torch.zeros(3, 2)).sum().backward()
    assert x.grad[0].tolist() == [0, 0]
    assert (x.grad.norm(dim=1) <= 1).all()
    torch.testing.assert_close(x.grad[2], torch.tensor([0.6, 0.8]))


@pytest.mark.parametrize("distance", [squared, euclidean])
def test_gradients_of_distances_are_those_of_finite_differences(distance):
    rng = torch.Generator().manual_seed(1)
    a, b = (torch.randn(n, 3, generator=rng).double().requires_grad_() for n in (4, 1))
    assert torch.autograd.gradcheck(distance, (a, b))


def test_gradient_of_unit_is_that_of_finite_differences():
    x = torch.randn(4, 3, generator=torch.Generator().manual_seed(1)).double().requires_grad_()
    assert torch.autograd.gradcheck(unit, (x,))


def test_unit_of_zero_is_zero():
    x = torch.tensor([[0.0, 0.0], [3.0, 4.0]], requires_grad=True)
    y = unit(x)
    y.sum().backward()
    torch.testing.assert_close(y.detach(), torch.tensor([[0.0, 0.0], [0.6, 0.8]]))
    assert x.grad.isfinite().all()
