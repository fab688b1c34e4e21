"""Neighbouring label sets against a brute-force search, and the rule for ties."""

import pytest
import torch

from retdm.bank import LabelSets, nearest_label_sets
from tests.bank.largest import Largest


def sets(rows=60, labels=7, seed=0):
    rng = torch.Generator().manual_seed(seed)
    return LabelSets(torch.rand(rows, labels, generator=rng) < 0.3)


def hamming(known, a, b):
    return int((known.targets[a] != known.targets[b]).sum())


def brute_force(known, anchor, present, k):
    others = [s for s in range(len(known)) if present[s] and s != anchor]
    return sorted(hamming(known, anchor, s) for s in others)[:k]


@pytest.mark.parametrize("k", [1, 3, 10])
def test_distances_are_the_smallest_there_are(k):
    known = sets()
    present = torch.rand(len(known), generator=torch.Generator().manual_seed(1)) < 0.5
    anchors, images = torch.arange(len(known)), present.nonzero()[:, 0]
    found, mask = nearest_label_sets(anchors, known, images, k=k, seed=0, step=0)
    assert mask.all()
    for anchor in range(len(known)):
        chosen = found[anchor].tolist()
        assert len(set(chosen)) == k
        assert anchor not in chosen
        assert all(present[s] for s in chosen)
        distances = [hamming(known, anchor, s) for s in chosen]
        assert distances == brute_force(known, anchor, present, k)


def test_no_images_named_means_all_sets():
    known = sets()
    every = torch.arange(len(known))
    anchors = torch.arange(5)
    one = nearest_label_sets(anchors, known, None, k=4, seed=0, step=0)
    two = nearest_label_sets(anchors, known, every, k=4, seed=0, step=0)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_order_repetition_and_padding_of_the_images_change_nothing():
    known, anchors = sets(), torch.arange(20)
    plain = torch.tensor([3, 7, 8, 15, 30])
    mixed = torch.tensor([-1, 30, 8, 3, 8, -1, 15, 7, 3])
    one = nearest_label_sets(anchors, known, plain, k=4, seed=0, step=0)
    two = nearest_label_sets(anchors, known, mixed, k=4, seed=0, step=0)
    assert all(torch.equal(a, b) for a, b in zip(one, two, strict=True))


def test_a_search_among_images_takes_no_more_memory_in_a_longer_table():
    largest = []
    for rows in (300, 3000):
        known = sets(rows, labels=20)
        assert len(known) > 0.9 * rows
        with Largest() as seen:
            nearest_label_sets(torch.arange(9), known, torch.arange(40), k=4, seed=0, step=0)
        largest.append(seen.numel)
    assert largest[0] == largest[1]


@pytest.mark.parametrize("count", [0, 1, 2, 3])
def test_too_few_sets_are_masked_not_repeated(count):
    known = sets()
    images = torch.arange(count)
    found, mask = nearest_label_sets(torch.tensor([0, 9]), known, images, k=5, seed=0, step=0)
    assert found.shape == mask.shape == (2, 5)
    assert mask.sum(1).tolist() == [max(count - 1, 0), count]
    assert sorted(found[1][mask[1]].tolist()) == list(range(count))


def test_a_single_label_set_has_no_neighbours():
    known = LabelSets(torch.ones(4, 3, dtype=torch.bool))
    found, mask = nearest_label_sets(torch.tensor([0, 0]), known, None, k=10, seed=0, step=0)
    assert found.shape == (2, 1)
    assert not mask.any()


def unit_sets(labels=12):
    """The empty set and all singletons: from the empty set all others are at distance 1."""
    return LabelSets(torch.cat([torch.zeros(1, labels), torch.eye(labels)]).bool())


def test_ties_are_broken_anew_each_step_and_evenly():
    known = unit_sets()
    empty = int((~known.targets.any(1)).nonzero())
    counts = torch.zeros(len(known))
    for step in range(600):
        found, _ = nearest_label_sets(torch.tensor([empty]), known, None, k=3, seed=4, step=step)
        counts[found[0]] += 1
    assert counts[empty] == 0
    drawn = counts[counts > 0]
    assert len(drawn) == 12
    # 600 * 3 / 12 = 150 each, with a deviation of about 11.
    assert drawn.min() > 100
    assert drawn.max() < 200


def test_ties_do_not_depend_on_which_other_rows_are_asked_for():
    known = sets(rows=200, labels=12)
    anchors = torch.arange(40)
    whole = nearest_label_sets(anchors, known, None, k=6, seed=1, step=2)
    for part in anchors.split(7):
        found = nearest_label_sets(part, known, None, k=6, seed=1, step=2)
        assert torch.equal(found[0], whole[0][part])


def test_other_seeds_break_ties_otherwise():
    known = unit_sets()
    draw = lambda seed: nearest_label_sets(torch.arange(13), known, None, k=3, seed=seed, step=0)[
        0
    ]
    assert torch.equal(draw(1), draw(1))
    assert not torch.equal(draw(1), draw(2))


def test_distances_above_256_are_exact_in_a_bfloat16_region():
    """257 has no bfloat16: it would round to 256 and look as near as the true neighbour."""
    rows = torch.zeros(4, 600)
    rows[1, :256], rows[2, :257], rows[3, :258] = 1, 1, 1
    known = LabelSets(rows.bool())
    anchor = known.set_id[:1]
    with torch.autocast("cpu", dtype=torch.bfloat16):
        found, _ = nearest_label_sets(anchor, known, None, k=3, seed=0, step=0)
    assert known.targets[found[0]].sum(1).tolist() == [256, 257, 258]
