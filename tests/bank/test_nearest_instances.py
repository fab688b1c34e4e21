"""Images whose label sets are near, against a brute-force search, and the rule for ties."""

import pytest
import torch

from retdm.bank import LabelSets, nearest_instances
from tests.bank.test_neighbours import hamming


def world(rows=60, labels=6):
    rng = torch.Generator().manual_seed(0)
    known = LabelSets(torch.rand(rows, labels, generator=rng) < 0.3)
    unused = torch.rand(rows, generator=rng) < 0.2
    return known, known.set_id.where(~unused, -1)


@pytest.mark.parametrize("k", [1, 5, 30])
def test_distances_are_the_smallest_there_are(k):
    known, images = world()
    anchors = torch.arange(len(known)).repeat(2)
    found, real = nearest_instances(anchors, known, images, k=k, seed=0, step=3)
    assert found.shape == real.shape == (len(anchors), k)
    for anchor, columns, mask in zip(anchors.tolist(), found, real, strict=True):
        chosen = columns[mask].tolist()
        usable = [i for i, s in enumerate(images.tolist()) if s not in (-1, anchor)]
        assert len(set(chosen)) == len(chosen) == min(k, len(usable))
        assert set(chosen) <= set(usable)
        distances = [hamming(known, anchor, images[i]) for i in chosen]
        assert distances == sorted(hamming(known, anchor, images[i]) for i in usable)[:k]


def test_frequent_label_sets_weigh_more():
    """Of four images at the same distance three have one label set."""
    known = LabelSets(torch.tensor([[1, 1, 0], [1, 0, 1], [1, 0, 1], [1, 0, 1], [1, 0, 0]]).bool())
    anchor = known.set_id[4:]
    drawn = [
        known.set_id[nearest_instances(anchor, known, known.set_id, k=1, seed=0, step=s)[0]].item()
        for s in range(400)
    ]
    share = drawn.count(int(known.set_id[1])) / len(drawn)
    assert 0.68 < share < 0.82  # three standard errors about 3/4


def test_padding_between_the_images_changes_nothing():
    known, images = world()
    anchors = torch.arange(len(known))
    plain = images[images >= 0]
    gaps = torch.full((2 * len(plain),), -1)
    gaps[1::2] = plain
    one, real = nearest_instances(anchors, known, plain, k=7, seed=1, step=2)
    two, also = nearest_instances(anchors, known, gaps, k=7, seed=1, step=2)
    assert torch.equal(real, also)
    assert torch.equal((2 * one + 1)[real], two[also])


def test_nothing_to_find():
    known, images = world()
    for empty in (torch.full_like(images, -1), images[:1].clone()):
        anchors = known.set_id[:1]
        found, real = nearest_instances(anchors, known, empty, k=3, seed=0, step=0)
        assert found.shape == real.shape == (1, min(3, len(empty)))
        assert not real.any()
