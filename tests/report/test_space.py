"""The numbers behind the figures of a run's space, against loops and scikit-learn."""

import math

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from retdm import losses
from retdm.bank import LabelSets
from retdm.methods.common_space import CommonSpace
from retdm.report.space import (
    Space,
    between,
    frequent_sets,
    hamming,
    own_and_neighbours,
    principal_plane,
    set_name,
)
from retdm.report.space_figures import agreement_figure, distances_figure, neighbours_table

NAMES = ["sea", "sky", "tree"]
COMMON = CommonSpace(lambda x: x, lambda x: x, losses.euclidean, "Euclidean distance")


def rows(*sets):
    return torch.tensor([[name in one for name in NAMES] for one in sets])


@pytest.fixture
def space():
    """Six images of four label sets, at random places."""
    targets = rows(["sea"], ["sea"], ["sea", "sky"], ["tree"], ["sea", "sky"], [])
    generator = torch.Generator().manual_seed(0)
    known = LabelSets(targets)
    images = torch.randn(len(targets), 4, generator=generator)
    return Space(known, images, torch.randn(len(known), 4, generator=generator), COMMON)


def test_distances_to_neighbours_equal_loops(space):
    found = own_and_neighbours(space, k=1)
    known, images, sets = space.known, space.images.numpy(), space.sets.numpy()
    apart = hamming(known)
    own, way1, way2, violated = [], [], [], 0
    for image, number in enumerate(known.set_id.tolist()):
        own.append(math.dist(images[image], sets[number]))
        nearest = min(int(apart[number, other]) for other in range(4) if other != number)
        near = [s for s in range(4) if s != number and apart[number, s] == nearest]
        options = [math.dist(images[image], sets[s]) for s in near]
        chosen = min(options, key=lambda d: abs(d - float(found.way1[image])))
        assert chosen == pytest.approx(float(found.way1[image]), abs=1e-5)
        way1.append(chosen)
        violated += own[-1] >= chosen
        drawn = near[options.index(chosen)]
        others = [i for i in range(6) if known.set_id[i] == drawn]
        ways = [math.dist(images[other], sets[number]) for other in others]
        way2.append(min(ways, key=lambda d: abs(d - float(found.way2[image]))))
    assert found.own.tolist() == pytest.approx(own, abs=1e-5)
    assert found.way2.tolist() == pytest.approx(way2, abs=1e-5)
    assert found.violated1 == pytest.approx(violated / 6)


def test_all_distances_are_those_of_pairs(space, monkeypatch):
    monkeypatch.setitem(between.__globals__, "_CELLS", 1)  # one row at a time
    found = between(space.images, space.sets, COMMON)
    for row, image in enumerate(space.images):
        for column, other in enumerate(space.sets):
            assert found[row, column] == pytest.approx(math.dist(image, other), abs=1e-5)


def test_hamming_counts_the_labels_in_which_two_sets_differ(space):
    targets = space.known.targets.tolist()
    wanted = [[sum(a != b for a, b in zip(x, y, strict=True)) for y in targets] for x in targets]
    assert hamming(space.known).tolist() == wanted


def test_the_principal_plane_is_scikit_learns():
    rng = np.random.default_rng(0)
    points = rng.normal(size=(40, 6)) * [5, 3, 1, 1, 0.5, 0.1]
    places, shares = principal_plane(torch.from_numpy(points))
    theirs = PCA(2, svd_solver="full").fit(points)
    assert shares == pytest.approx(theirs.explained_variance_ratio_.tolist())
    assert np.abs(places.numpy()) == pytest.approx(np.abs(theirs.transform(points)))


@pytest.mark.parametrize("points", [torch.ones(4, 3), torch.zeros(4, 1), torch.eye(3)[:2]])
def test_points_without_a_plane_have_a_place_and_no_second_axis(points):
    places, (_, second) = principal_plane(points)
    assert places.shape == (len(points), 2)
    assert places.isfinite().all()
    assert second == pytest.approx(0, abs=1e-12)


def test_one_label_set_has_no_neighbours_and_says_so(space):
    known = LabelSets(rows(["sea"], ["sea"]))
    alone = Space(known, space.images[:2], space.sets[:1], COMMON)
    assert own_and_neighbours(alone, k=3) is None
    assert "all images have one label set" in distances_figure(alone, "r", k=3).words
    assert "there is one label set only" in agreement_figure(alone, "r").words
    assert neighbours_table(alone, NAMES, "r") is None


def test_the_table_of_neighbours_has_frequent_sets_first_and_their_ties(space):
    table = neighbours_table(space, NAMES, "r")
    first, *_ = table.rows
    assert [cell.text for cell in first[:2]] == ["sea", "2"]
    assert set(first[2].text.split("; ")) == {"sea + sky (1)", "(no label) (1)", "tree (2)"}
    assert first[3].text == "2"
    assert first[2].text.startswith("sea + sky (1)")  # the more frequent of the two
    own, learned = frequent_sets(space.known)[0], between(space.sets, space.sets, COMMON)
    order = [n for n in learned[own].argsort().tolist() if n != own]
    wanted = [f"{set_name(space.known.targets[n], NAMES)} ({learned[own, n]:.3f})" for n in order]
    assert first[4].text.split("; ") == wanted


def test_quartiles_of_learned_distances_are_of_pairs_that_differ_in_so_many_labels(space):
    figure = agreement_figure(space, "r")
    (box,) = figure.plot.data
    apart, learned = hamming(space.known), between(space.sets, space.sets, COMMON)
    for at, step in enumerate(box.x):
        values = [float(learned[a, b]) for a in range(4) for b in range(a) if apart[a, b] == step]
        assert box.median[at] == pytest.approx(np.median(values), abs=1e-4)
        assert box.q1[at] == pytest.approx(np.quantile(values, 0.25), abs=1e-4)
