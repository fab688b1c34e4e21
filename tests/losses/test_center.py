"""Centre losses and the rule of the centres against loops, and at their edges."""

import math

import pytest
import torch

from retdm.losses import center_of_classes, center_of_labels, moved_centres


def draw(*shape, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return torch.randn(shape, generator=rng, dtype=torch.float64)


def table():
    targets = draw(5, 4, seed=9) < 0
    targets[0], targets[1] = False, True
    return targets


def half_square(a, b):
    return sum((x - y) ** 2 for x, y in zip(a.tolist(), b.tolist(), strict=True)) / 2


def test_centre_of_labels_matches_the_loops():
    features, centres, targets = draw(5, 3), draw(4, 3, seed=1), table()
    for i, found in enumerate(center_of_labels(features, centres, targets).tolist()):
        each = [half_square(features[i], centres[c]) for c in range(4) if targets[i, c]]
        assert found == pytest.approx(sum(each) / max(len(each), 1))


def test_centre_of_classes_matches_the_loops():
    features, logits, centres = draw(5, 4, 3), draw(5, 4, 2, seed=1), draw(4, 2, 3, seed=2)
    found = center_of_classes(features, logits, centres, table(), weight=0.3)
    for i in range(5):
        for c in range(4):
            b = int(table()[i, c])
            s = logits[i, c].tolist()
            nll = -math.log(math.exp(s[b]) / (math.exp(s[0]) + math.exp(s[1])))
            pull = half_square(features[i, c], centres[c, b])
            assert found[i, c].item() == pytest.approx(nll + 0.3 * pull)


def test_gradients_are_those_of_finite_differences():
    centres, targets = draw(4, 3, seed=1), table()
    features = draw(5, 3).requires_grad_()
    assert torch.autograd.gradcheck(lambda f: center_of_labels(f, centres, targets), features)
    classes = draw(4, 2, 3, seed=2)
    both = draw(5, 4, 3).requires_grad_(), draw(5, 4, 2, seed=1).requires_grad_()
    loss = lambda f, s: center_of_classes(f, s, classes, targets, weight=0.3)
    assert torch.autograd.gradcheck(loss, both)


def test_an_image_without_labels_is_pulled_nowhere():
    features = draw(1, 3).requires_grad_()
    loss = center_of_labels(features, draw(4, 3), torch.zeros(1, 4, dtype=torch.bool))
    loss.sum().backward()
    assert loss.item() == 0
    assert (features.grad == 0).all()


def test_centres_move_by_the_rule_of_the_paper():
    features, centres, targets = draw(5, 3), draw(4, 3, seed=1), table()
    targets[:, 3] = False
    sums, counts = targets.double().T @ features, targets.sum(0).double()
    found = moved_centres(centres, sums, counts, alpha=0.4)
    for c in range(4):
        members = [f for f, has in zip(features, targets[:, c], strict=True) if has]
        step = sum((centres[c] - f for f in members), torch.zeros(3)) / (1 + len(members))
        torch.testing.assert_close(found[c], centres[c] - 0.4 * step)
    assert torch.equal(found[3], centres[3])


def test_centres_come_to_rest_at_the_mean():
    centre, members = torch.zeros(1, 2), torch.tensor([[1.0, 5.0], [3.0, 1.0]])
    for _ in range(60):
        centre = moved_centres(centre, members.sum(0)[None], torch.tensor([2.0]), alpha=0.5)
    torch.testing.assert_close(centre, members.mean(0)[None])
