"""The autoencoder's terms against loops."""

import math

import pytest
import torch

from retdm.losses import latent_distance, orthogonality, pairwise_exponential

DTYPE = torch.float64


def normal(*shape, seed=0):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=DTYPE)


def targets():
    rows = [[1, 0, 1, 0], [0, 0, 0, 1], [0, 0, 0, 0], [1, 1, 1, 1], [1, 1, 1, 0]]
    return torch.tensor(rows, dtype=torch.bool)


def test_distance_matches_the_loops():
    a, b = normal(3, 4), normal(3, 4, seed=1)
    for row, found in enumerate(latent_distance(a, b).tolist()):
        each = [(p - q) ** 2 for p, q in zip(a[row].tolist(), b[row].tolist(), strict=True)]
        assert found == pytest.approx(sum(each) / 4)


def slow_orthogonality(rows, c):
    n, width = len(rows), len(rows[0])
    total = 0.0
    for j in range(width):
        for k in range(width):
            moment = sum(row[j] * row[k] for row in rows) / n / c
            total += (moment - (j == k)) ** 2
    return c * total / width


@pytest.mark.parametrize("c", [1.0, 0.1])
def test_orthogonality_matches_the_loops_over_valid_rows(c):
    latents, valid = normal(7, 3), torch.tensor([1, 1, 0, 1, 0, 1, 1], dtype=torch.bool)
    expected = slow_orthogonality(latents[valid].tolist(), c)
    assert orthogonality(latents, valid, mean_square=c).item() == pytest.approx(expected)


def test_distance_and_orthogonality_are_the_authors_up_to_one_factor():
    """||X - E||^2 + 0.5 (||X'X - I||^2 + ||E'E - I||^2) with X = Z / root(n c)."""
    n, width, c = 7, 3, 0.1
    one, two = normal(n, width), normal(n, width, seed=1)
    x, e = one / math.sqrt(n * c), two / math.sqrt(n * c)
    identity = torch.eye(width, dtype=DTYPE)
    theirs = (x - e).square().sum() + 0.5 * sum(
        (codes.T @ codes - identity).square().sum() for codes in (x, e)
    )
    valid = torch.ones(n, dtype=torch.bool)
    ours = latent_distance(one, two).mean() + 0.5 * sum(
        orthogonality(codes, valid, mean_square=c) for codes in (one, two)
    )
    torch.testing.assert_close(ours, theirs * c / width)


def test_orthogonality_is_met_by_white_latents_of_any_batch_size():
    for n in (5, 50):
        white = torch.linalg.qr(normal(n, 5)).Q * math.sqrt(n)
        valid = torch.ones(n, dtype=torch.bool)
        assert orthogonality(white / 2, valid, mean_square=0.25).item() < 1e-20
    assert orthogonality(torch.zeros(4, 5), torch.ones(4, dtype=torch.bool), mean_square=1) == 1


def test_a_repeated_batch_is_as_orthogonal_as_once():
    latents = normal(6, 3)
    once = orthogonality(latents, torch.ones(6, dtype=torch.bool), mean_square=1)
    valid = torch.ones(18, dtype=torch.bool)
    thrice = orthogonality(latents.repeat(3, 1), valid, mean_square=1)
    torch.testing.assert_close(once, thrice)


def test_no_valid_row_is_finite_and_without_gradient():
    latents = normal(3, 2).requires_grad_()
    value = orthogonality(latents, torch.zeros(3, dtype=torch.bool), mean_square=1)
    value.backward()
    assert value == 1
    assert (latents.grad == 0).all()


@pytest.mark.parametrize("sharpness", [1.0, 5.0])
def test_ranking_matches_the_loops(sharpness):
    p = normal(5, 4).sigmoid()
    for row, found in enumerate(pairwise_exponential(p, targets(), sharpness=sharpness).tolist()):
        pos = [x for x, y in zip(p[row].tolist(), targets()[row], strict=True) if y]
        neg = [x for x, y in zip(p[row].tolist(), targets()[row], strict=True) if not y]
        pairs = [math.exp(-sharpness * (a - b)) for a in pos for b in neg]
        expected = sum(pairs) / len(pairs) / sharpness if pairs else 0.0
        assert found == pytest.approx(expected)


def test_images_with_no_or_all_labels_have_no_gradient():
    p = normal(5, 4).requires_grad_()
    pairwise_exponential(p.sigmoid(), targets(), sharpness=5.0).sum().backward()
    assert (p.grad[2:4] == 0).all()
    assert (p.grad[[0, 1, 4]] != 0).all()


def test_the_sharpest_setting_stays_finite():
    worst = torch.tensor([[0.0, 1.0]], requires_grad=True)
    loss = pairwise_exponential(worst, torch.tensor([[True, False]]), sharpness=50.0)
    loss.sum().backward()
    assert loss.isfinite().all()
    assert worst.grad.isfinite().all()


def test_gradients_are_those_of_finite_differences():
    one, two = normal(5, 4).requires_grad_(), normal(5, 4, seed=1).requires_grad_()
    valid = torch.tensor([1, 0, 1, 1, 1], dtype=torch.bool)
    assert torch.autograd.gradcheck(latent_distance, (one, two))
    assert torch.autograd.gradcheck(lambda z: orthogonality(z, valid, mean_square=0.5), one)
    assert torch.autograd.gradcheck(
        lambda z: pairwise_exponential(z.sigmoid(), targets(), sharpness=5.0), one
    )
