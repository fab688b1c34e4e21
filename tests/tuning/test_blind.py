"""A split whose images lack labels is told; one that has all is not."""

import types

import numpy as np
import pytest

from retdm.tuning.blind import blind_line


@pytest.mark.parametrize(
    ("seen", "told"),
    [
        (9, ""),
        (8, "split 'val' has no image of 1 label (l8): metrics over labels leave them out, so "
            "that no trial is better or worse for them"),
        (2, "split 'val' has no image of 7 labels (l2, l3, l4, l5, l6 and 2 more): "),
    ],
)  # fmt: skip
def test_labels_without_an_image_are_named(seen, told):
    targets = np.zeros((3, 9), dtype=bool)
    targets[1, :seen] = True
    split = types.SimpleNamespace(
        split="val",
        table=types.SimpleNamespace(targets=targets),
        manifest=types.SimpleNamespace(labels=[f"l{at}" for at in range(9)]),
    )
    line = blind_line(split)
    assert line.startswith(told)
    assert bool(line) == bool(told)
