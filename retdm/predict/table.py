"""Rows for a terminal."""

from collections.abc import Sequence

from retdm import console
from retdm.predict.rows import Row

_WIDEST = 60


def width_of(images: Sequence[str]) -> int:
    """Of the column of names: all but very long ones fit."""
    return min(max(map(len, images), default=0), _WIDEST)


def line(row: Row, labels: Sequence[str], *, width: int) -> str:
    """Name and predicted labels of an image with their scores, or what is wrong with it.

    Example:
        >>> import numpy as np
        >>> row = Row("a.jpg", ["sky", "sea"], np.array([0.75, 0.9]))
        >>> line(row, ["sea", "sky"], width=8)
        'a.jpg     sky 0.90, sea 0.75'
    """
    image = console.plain(row.image)
    if row.labels is None or row.scores is None:
        return f"{image:{width}}  error: {row.error}"
    score_of = dict(zip(labels, row.scores.tolist(), strict=True))
    found = ", ".join(f"{console.plain(label)} {score_of[label]:.2f}" for label in row.labels)
    return f"{image:{width}}  {found or '-'}"
