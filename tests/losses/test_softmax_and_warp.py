"""The two losses that rank labels, against loops, finite differences, and at their edges."""

import math

import pytest
import torch

from retdm.losses import softmax, warp


def case(rows=8, labels=6):
    rng = torch.Generator().manual_seed(2)
    logits = torch.randn(rows, labels, generator=rng, dtype=torch.float64)
    targets = torch.rand(rows, labels, generator=rng) < 0.4
    targets[0], targets[1] = False, True
    words = torch.randint(0, 1 << 62, (int(targets.sum()), labels), generator=rng)
    return logits, targets, words


def test_softmax_matches_the_loops():
    logits, targets, _ = case()
    found = softmax(logits, targets)
    for z, y, value in zip(logits.tolist(), targets.tolist(), found.tolist(), strict=True):
        whole = sum(math.exp(v) for v in z)
        own = [-math.log(math.exp(v) / whole) for v, has in zip(z, y, strict=True) if has]
        assert value == pytest.approx(sum(own) / max(len(own), 1))


def test_softmax_of_huge_logits_is_finite():
    logits = torch.tensor([[1e4, -1e4]], requires_grad=True)
    loss = softmax(logits, torch.tensor([[False, True]]))
    loss.sum().backward()
    assert loss.item() == 2e4
    assert logits.grad.isfinite().all()


def reference(z, y, rank_of):
    """One image; `rank_of` gets its absent labels, and those of them that violate."""
    absent = [q for q, has in enumerate(y) if not has]
    total = 0.0
    for p in (p for p, has in enumerate(y) if has):
        hinge = {q: max(0.0, 1 - z[p] + z[q]) for q in absent}
        rank = rank_of(absent, [q for q in absent if hinge[q] > 0])
        total += sum(1 / j for j in range(1, rank + 1)) * sum(hinge.values())
    return total


def test_exact_warp_matches_the_loops():
    logits, targets, _ = case()
    found = warp(logits, targets)
    for z, y, value in zip(logits.tolist(), targets.tolist(), found.tolist(), strict=True):
        assert value == pytest.approx(reference(z, y, lambda _, violating: len(violating)))


def test_sampled_warp_matches_the_loops():
    logits, targets, words = case()
    pairs = iter(words.tolist())

    def rank_of(absent, violating):
        word = next(pairs)
        for trials, q in enumerate(sorted(absent, key=lambda q: word[q]), 1):
            if q in violating:
                return (logits.shape[1] - 1) // trials
        return 0

    found = warp(logits, targets, words)
    for z, y, value in zip(logits.tolist(), targets.tolist(), found.tolist(), strict=True):
        assert value == pytest.approx(reference(z, y, rank_of))


@pytest.mark.parametrize("loss", [softmax, warp])
def test_gradients_are_those_of_finite_differences(loss):
    logits, targets, _ = case()
    assert torch.autograd.gradcheck(lambda x: loss(x, targets), logits.requires_grad_())


def test_gradients_of_the_sampled_rank_are_those_of_finite_differences():
    logits, targets, words = case()
    assert torch.autograd.gradcheck(lambda x: warp(x, targets, words), logits.requires_grad_())


@pytest.mark.parametrize(
    "loss", [softmax, warp, lambda x, y: warp(x, y, torch.zeros(0, 3).long())]
)
def test_an_image_without_labels_counts_nothing(loss):
    logits = torch.randn(2, 3, requires_grad=True)
    value = loss(logits, torch.zeros(2, 3, dtype=torch.bool))
    value.sum().backward()
    assert value.tolist() == [0, 0]
    assert (logits.grad == 0).all()


def test_no_violating_label_is_no_loss():
    logits = torch.tensor([[3.0, 1.9, 0.0]])
    targets = torch.tensor([[True, False, False]])
    assert warp(logits, targets).item() == 0
    assert warp(logits, targets, torch.tensor([[5, 1, 2]])).item() == 0


def test_all_labels_present_is_no_loss():
    logits, targets = torch.zeros(1, 3), torch.ones(1, 3, dtype=torch.bool)
    assert warp(logits, targets).item() == 0
    assert warp(logits, targets, torch.arange(9).view(3, 3)).item() == 0


def test_a_violating_label_is_met_even_if_visited_last():
    """Rank 1, weight 1: the harmonic sum, not a logarithm, which would be 0."""
    logits = torch.tensor([[0.0, -5.0, -5.0, 0.5]])
    targets = torch.tensor([[True, False, False, False]])
    assert warp(logits, targets, torch.tensor([[0, 1, 2, 3]])).item() == 1.5
