"""A split searched in each direction, against loops over pairs."""

import math

import numpy as np
import pytest

from retdm.retrieval import measure
from retdm.retrieval.measure import image_to_image, labels_to_image
from tests.retrieval.test_precision import reference

AT = (1, 4)


def space(seed, images=30, labels=3, width=4):
    """Points, label sets (the empty one among them) and a label net that is linear."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, labels)) < 0.4
    targets[:2] = False
    net = rng.normal(size=(labels, width)).astype(np.float32)
    points = targets @ net + rng.normal(size=(images, width)).astype(np.float32)
    return points.astype(np.float32), targets, lambda sets: (sets @ net).astype(np.float32)


def ordered(query, points):
    """Numbers of the points from the nearest on."""
    distances = [math.dist(query, point) for point in points]
    return sorted(range(len(points)), key=distances.__getitem__)


def means(lists, k):
    """Mean precision and AP of lists of (flags in order, how many there are)."""
    kept = [(flags[:k], there) for flags, there in lists if there]
    precision = sum(sum(flags) / k for flags, _ in kept) / len(kept)
    return precision, sum(reference(flags, there) for flags, there in kept) / len(kept)


def test_images_among_the_others(monkeypatch):
    monkeypatch.setattr(measure, "_AT_ONCE", 7)
    points, targets, _ = space(1)
    found = image_to_image(points, targets, at=AT)
    rules = {
        "shared": lambda a, b: bool((a & b).any()),
        "same": lambda a, b: bool((a == b).all()),
    }
    for name, relevant in rules.items():
        lists = []
        for i in range(len(points)):
            others = [j for j in ordered(points[i], points) if j != i]
            flags = [relevant(targets[i], targets[j]) for j in others]
            lists.append((flags, sum(flags)))
        for k in AT:
            expected = means(lists, k)
            assert found[f"images.{name}.precision@{k}"] == pytest.approx(expected[0])
            assert found[f"images.{name}.mAP@{k}"] == pytest.approx(expected[1])


def test_label_sets_and_images_find_each_other():
    points, targets, net = space(2)
    found = labels_to_image(points, targets, net, at=AT)
    sets = sorted({tuple(row) for row in targets.tolist()})
    embedded = net(np.array(sets))
    lists = []
    for one, point in zip(sets, embedded, strict=True):
        if any(one):
            has = [all(there for there, asked in zip(row, one, strict=True) if asked)
                   for row in targets.tolist()]  # fmt: skip
            flags = [has[j] for j in ordered(point, points)]
            lists.append((flags, sum(flags)))
    places = [
        ordered(point, embedded).index(sets.index(tuple(row)))
        for point, row in zip(points, targets.tolist(), strict=True)
    ]
    for k in AT:
        expected = means(lists, k)
        assert found[f"labels.precision@{k}"] == pytest.approx(expected[0])
        assert found[f"labels.mAP@{k}"] == pytest.approx(expected[1])
        hits = [place < k for place in places]
        assert found[f"label_sets.hit@{k}"] == pytest.approx(sum(hits) / len(hits))
        inverse = [1 / (place + 1) if place < k else 0 for place in places]
        assert found[f"label_sets.mAP@{k}"] == pytest.approx(sum(inverse) / len(inverse))


def test_an_image_is_not_found_by_itself_even_where_others_lie_at_its_place():
    points = np.ones((5, 2), np.float32)
    targets = np.array([[True], [False], [False], [False], [False]])
    found = image_to_image(points, targets, at=(4,))
    # No other has its label: of the five queries, that one counts nowhere, and none finds it.
    assert math.isnan(found["images.shared.precision@4"])
    assert found["images.same.precision@4"] == pytest.approx(3 / 4)


def test_images_without_labels_share_none_and_have_the_same():
    points, _, _ = space(3, images=4)
    targets = np.zeros((4, 2), dtype=bool)
    found = image_to_image(points, targets, at=(1,))
    assert math.isnan(found["images.shared.mAP@1"])
    assert found["images.same.mAP@1"] == 1.0
