"""Metrics that look only at the order of the scores within each image.

Equal scores never help: in all four metrics the labels of a tie are ranked as badly as they can
be. The first three are scikit-learn's, value for value; `one_error`, which scikit-learn lacks,
follows the same rule. Images are handled in blocks, so memory does not grow with their number.
"""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retdm.evaluation.inputs import Scores, Targets

_BLOCK_CELLS = 1 << 20


@dataclass(frozen=True, slots=True)
class Ranking:
    """Means over images (Zhang and Zhou, TKDE 2014, section 2.2)."""

    ranking_loss: float
    """Share of (true, other) label pairs in the wrong order, ties included; in [0, 1], lower is
    better. An image with no label, or with all, counts as 0."""

    coverage: float
    """Labels to go through from the best down until all true ones are seen, counted from 1 as in
    scikit-learn; at best the mean number of true labels. An image with no label counts as 0."""

    average_precision: float
    """Mean over true labels of the share of true ones among those ranked no worse; per image,
    not the mAP; in (0, 1], higher is better. An image with no label, or all, counts as 1."""

    one_error: float
    """Share of images where a label with the highest score is not true; in [0, 1], lower is
    better. Images with no label are left out; NaN if that leaves none."""

    skipped_one_error: int
    """Images left out of `one_error`."""


def rank(scores: Scores, targets: Targets) -> Ranking:
    """All four from one sort of each image's scores.

    Example:
        >>> r = rank(np.array([[0.9, 0.6, 0.3]]), np.array([[True, False, True]]))
        >>> r.ranking_loss, r.coverage, round(r.average_precision, 3), r.one_error
        (0.5, 3.0, 0.833, 0.0)
    """
    images = len(scores)
    wrong_pairs = coverage = average_precision = 0.0
    one_errors = labelled = 0
    for rows in blocks(*scores.shape):
        s, t = scores[rows], targets[rows]
        positives = np.count_nonzero(t, axis=1)
        order = np.argsort(s, axis=1)[:, ::-1]
        s = np.take_along_axis(s, order, axis=1)
        t = np.take_along_axis(t, order, axis=1)

        # The worst place of a label is that of the last one of its tie.
        last = _last_of_tie(s)
        place = last + 1
        hits = np.take_along_axis(np.cumsum(t, axis=1), last, axis=1)
        decided = (positives > 0) & (positives < s.shape[1])

        pairs = np.maximum(positives * (s.shape[1] - positives), 1)
        wrong_pairs += float((np.where(t, place - hits, 0).sum(axis=1) / pairs)[decided].sum())
        coverage += float(np.where(t, place, 0).max(axis=1).sum())
        precision = np.where(t, hits / place, 0.0).sum(axis=1) / np.maximum(positives, 1)
        average_precision += float(np.where(decided, precision, 1.0).sum())

        has = positives > 0
        labelled += int(np.count_nonzero(has))
        all_top_true = hits[:, 0] == place[:, 0]
        one_errors += int(np.count_nonzero(has & ~all_top_true))
    return Ranking(
        ranking_loss=wrong_pairs / images,
        coverage=coverage / images,
        average_precision=average_precision / images,
        one_error=one_errors / labelled if labelled else float("nan"),
        skipped_one_error=images - labelled,
    )


def blocks(images: int, labels: int) -> Iterator[slice]:
    """Slices of rows that cover all images, about a million cells each."""
    step = max(_BLOCK_CELLS // labels, 1)
    for start in range(0, images, step):
        yield slice(start, start + step)


def _last_of_tie(descending: npt.NDArray[np.floating]) -> npt.NDArray[np.intp]:
    """For each cell, the column of the last cell of its row that has the same value."""
    columns = descending.shape[1]
    ends = np.ones(descending.shape, dtype=np.bool_)
    np.not_equal(descending[:, :-1], descending[:, 1:], out=ends[:, :-1])
    at = np.where(ends, np.arange(columns), columns)
    return np.asarray(np.minimum.accumulate(at[:, ::-1], axis=1)[:, ::-1], dtype=np.intp)
