"""Label sequences and their likelihood against loops."""

import math

import pytest
import torch

from retdm.losses import label_sequences, sequence_nll
from retdm.losses.label_sequence import already_emitted

LABELS = 5
END = LABELS


def case(rows=6):
    rng = torch.Generator().manual_seed(1)
    targets = torch.rand(rows, LABELS, generator=rng) < 0.4
    targets[0], targets[1] = False, True
    counts = torch.tensor([3, 9, 3, 0, 7])
    sequences = label_sequences(targets, counts)
    scores = torch.randn(rows, sequences.shape[1], LABELS + 1, generator=rng, dtype=torch.float64)
    return targets, counts, sequences, scores


def slow_sequence(row, counts):
    present = [label for label in range(LABELS) if row[label]]
    return [*sorted(present, key=lambda label: (-int(counts[label]), label)), END]


def slow_nll(scores, sequence):
    steps, named = [], set()
    for step, outcome in enumerate(sequence):
        allowed = [score for label, score in enumerate(scores[step]) if label not in named]
        partition = sum(math.exp(score) for score in allowed)
        steps.append(math.log(partition) - scores[step][outcome])
        named.add(outcome)
    return steps


def test_sequences_go_from_frequent_to_rare_and_end():
    targets, counts, sequences, _ = case()
    assert sequences.shape == (6, LABELS + 1)
    for row, found in zip(targets, sequences.tolist(), strict=True):
        expected = slow_sequence(row, counts)
        assert found == expected + [END] * (LABELS + 1 - len(expected))


def test_sequences_are_as_long_as_the_largest_label_set_needs():
    targets = torch.zeros(3, LABELS, dtype=torch.bool)
    assert label_sequences(targets, torch.arange(LABELS)).tolist() == [[END]] * 3
    targets[1, :2] = True
    assert label_sequences(targets, torch.arange(LABELS)).shape == (3, 3)
    assert label_sequences(targets[:0], torch.arange(LABELS)).shape == (0, 1)


def test_emitted_labels_are_those_before_the_step():
    _, _, sequences, _ = case()
    found = already_emitted(sequences, LABELS)
    for row, sequence in enumerate(sequences.tolist()):
        for step in range(len(sequence)):
            before = set(sequence[:step]) - {END}
            assert found[row, step].nonzero()[:, 0].tolist() == sorted(before)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_likelihood_matches_the_loops(reduction):
    targets, counts, sequences, scores = case()
    found = sequence_nll(scores, sequences, reduction=reduction)
    for row, value in enumerate(found.tolist()):
        steps = slow_nll(scores[row].tolist(), slow_sequence(targets[row], counts))
        assert value == pytest.approx(sum(steps) / (len(steps) if reduction == "mean" else 1))


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_an_image_does_not_see_how_long_others_are(reduction):
    targets, counts, sequences, scores = case()
    whole = sequence_nll(scores, sequences, reduction=reduction)
    for row in range(6):
        alone = label_sequences(targets[row : row + 1], counts)
        each = sequence_nll(scores[row : row + 1, : alone.shape[1]], alone, reduction=reduction)
        torch.testing.assert_close(each[0], whole[row])


def test_likelihoods_of_all_sequences_sum_to_one():
    """With scores that do not depend on the step: two labels have five sequences."""
    step = torch.tensor([0.3, -1.0, 0.5], dtype=torch.float64)
    every = torch.tensor([[2, 2, 2], [0, 2, 2], [1, 2, 2], [0, 1, 2], [1, 0, 2]])
    nll = sequence_nll(step.expand(5, 3, 3), every, reduction="sum")
    assert (-nll).exp().sum().item() == pytest.approx(1)


@pytest.mark.parametrize("reduction", ["mean", "sum"])
def test_gradient_is_that_of_finite_differences(reduction):
    _, _, sequences, scores = case()
    assert torch.autograd.gradcheck(
        lambda x: sequence_nll(x, sequences, reduction=reduction), scores.requires_grad_()
    )
