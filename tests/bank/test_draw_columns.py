"""Drawing one image for each neighbouring label set."""

import torch

from retdm.bank import draw_columns

COLUMN_SETS = torch.tensor([4, 2, -1, 4, 7, 4, -1, 2])


def draw(neighbours, mask=None, anchors=None, step=0, columns=COLUMN_SETS):
    neighbours = torch.tensor(neighbours)
    mask = torch.ones_like(neighbours, dtype=torch.bool) if mask is None else torch.tensor(mask)
    anchors = torch.arange(len(neighbours)) if anchors is None else anchors
    return draw_columns(neighbours, mask, columns, anchors, seed=3, step=step)


def test_columns_have_the_wanted_set():
    for step in range(20):
        columns, found = draw([[4, 2, 7], [7, 4, 2]], step=step)
        assert found.all()
        assert COLUMN_SETS[columns].tolist() == [[4, 2, 7], [7, 4, 2]]


def test_a_set_without_image_is_not_found():
    columns, found = draw([[4, 0, 9]])
    assert found.tolist() == [[True, False, False]]
    assert columns[0, 1:].tolist() == [0, 0]


def test_a_masked_neighbour_is_not_found():
    _, found = draw([[4, 4]], mask=[[True, False]])
    assert found.tolist() == [[True, False]]


def test_all_columns_unusable():
    columns, found = draw([[4, 2]], columns=torch.full((5,), -1))
    assert not found.any()
    assert columns.tolist() == [[0, 0]]


def test_each_image_is_equally_likely():
    anchors = torch.arange(3000)
    columns, _ = draw([[4]] * 3000, anchors=anchors)
    counts = columns.flatten().bincount(minlength=8)
    # 1000 each, with a deviation of about 26.
    assert counts[[0, 3, 5]].min() > 880
    assert counts.sum() == counts[[0, 3, 5]].sum()


def test_the_draw_belongs_to_the_anchor_not_to_its_place():
    anchors = torch.arange(64)
    whole, _ = draw([[4, 2]] * 64, anchors=anchors)
    part, _ = draw([[4, 2]] * 20, anchors=anchors[30:50])
    assert torch.equal(part, whole[30:50])


def test_steps_draw_anew():
    first, _ = draw([[4]] * 64, step=1)
    second, _ = draw([[4]] * 64, step=2)
    assert not torch.equal(first, second)
