"""Mining of neighbours by embedding distance, against loops over images."""

import pytest
import torch

from retdm.bank import nearest_images


def case(batch=7, columns=40, dtype=torch.float64):
    rng = torch.Generator().manual_seed(1)
    anchors = torch.randn(batch, 5, generator=rng, dtype=dtype)
    candidates = torch.randn(columns, 5, generator=rng, dtype=dtype)
    sets = torch.randint(-1, 4, (batch + columns,), generator=rng)
    return anchors, sets[:batch].clamp(min=0), candidates, sets[batch:]


@pytest.mark.parametrize("k", [1, 3, 25, 60])
def test_matches_the_loops(k):
    anchors, anchor_sets, candidates, sets = case()
    columns, found = nearest_images(anchors, anchor_sets, candidates, sets, k=k)
    assert columns.shape == found.shape == (7, k)
    for i, (f, own) in enumerate(zip(anchors, anchor_sets.tolist(), strict=True)):
        far = [
            (float((f - c).norm()), j)
            for j, (c, s) in enumerate(zip(candidates, sets.tolist(), strict=True))
            if s not in (-1, own)
        ]
        wanted = [j for _, j in sorted(far)][:k]
        assert columns[i][found[i]].tolist() == wanted
        assert found[i].tolist() == [True] * len(wanted) + [False] * (k - len(wanted))
        assert (columns[i][~found[i]] == 0).all()


def test_neighbours_may_share_a_label_set():
    line = torch.tensor([[0.0], [1.0], [2.0]])
    columns, found = nearest_images(
        line[:1], torch.tensor([0]), line, torch.tensor([0, 1, 1]), k=2
    )
    assert columns.tolist() == [[1, 2]]
    assert found.all()


def test_without_usable_candidates_nothing_is_found():
    anchors, anchor_sets, candidates, sets = case()
    for none in (torch.full_like(sets, -1), torch.zeros_like(sets)):
        columns, found = nearest_images(
            anchors, torch.zeros_like(anchor_sets), candidates, none, k=3
        )
        assert not found.any()
        assert (columns == 0).all()
    _, found = nearest_images(anchors, anchor_sets, candidates[:0], sets[:0], k=3)
    assert found.shape == (7, 3)
    assert not found.any()


def test_an_anchor_is_not_its_own_neighbour():
    anchors, anchor_sets, _, _ = case()
    columns, found = nearest_images(anchors, anchor_sets, anchors, anchor_sets, k=7)
    for i in range(7):
        assert i not in columns[i][found[i]].tolist()


def test_a_bfloat16_region_changes_nothing():
    given = case(dtype=torch.float32)
    plain = nearest_images(*given, k=5)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        torch.testing.assert_close(nearest_images(*given, k=5), plain)
