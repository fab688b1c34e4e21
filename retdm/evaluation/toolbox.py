"""The figures that the paper's tables print, under their true definitions.

Rows BCE, CL, RETDM and RETDM (one-way) of the paper agree with the LAMDA group's MATLAB
functions for multi-label learning when these are given 0/1 predictions in place of scores (see
the notes in published.toml). Against the standard metrics that changes four things:

- Scores are thresholded first, so nearly all labels of an image are tied.
- Coverage and average precision break ties by position: among equal outputs the label with the
  larger column index ranks first (MATLAB's ascending sort is stable, and is read backwards). Both
  therefore depend on the order of the labels.
- One-error is lenient: an image is wrong only if none of the labels that share the highest
  output is true, that is, if something was predicted and none of it is right.
- Images with no label or with all of them are left out of ranking loss, one-error and average
  precision; coverage keeps all images and counts places from 0.

The precision of a label that is never predicted is 1.
"""

import numpy as np

from retdm.evaluation.counts import Predictions, count, hamming_loss, precision_recall
from retdm.evaluation.inputs import Targets
from retdm.evaluation.ranking import blocks

UNDEFINED_PRECISION = 1.0


def toolbox_metrics(predictions: Predictions, targets: Targets) -> tuple[dict[str, float], int]:
    """All toolbox figures of thresholded predictions.

    Returns:
        The metrics by name (without the `toolbox.` prefix), and the number of images left out
        of ranking_loss, one_error and average_precision; these three are NaN if all were.

    Example:
        >>> h = np.array([[False, True, False], [False, False, False]])
        >>> y = np.array([[True, True, False], [False, True, False]])
        >>> values, skipped = toolbox_metrics(h, y)
        >>> [values[m] for m in ("ranking_loss", "coverage", "one_error")], skipped
        ([0.75, 1.5, 0.0], 0)
    """
    images, labels = targets.shape
    wrong_pairs = cover = average_precision = 0.0
    one_errors = decided_images = 0
    for rows in blocks(images, labels):
        h, y = predictions[rows], targets[rows]
        positives = np.count_nonzero(y, axis=1)
        predicted = np.count_nonzero(h, axis=1)
        hits = np.count_nonzero(h & y, axis=1)
        decided = (positives > 0) & (positives < labels)
        decided_images += int(np.count_nonzero(decided))

        # A pair is in order only if its true label is predicted and its other label is not.
        others = labels - positives
        in_order = hits * (others - (predicted - hits))
        pairs = np.maximum(positives * others, 1)
        wrong_pairs += float((1 - in_order / pairs)[decided].sum())
        one_errors += int(np.count_nonzero(decided & (predicted > 0) & (hits == 0)))

        true_by_place = _by_place(h, y)
        place = np.arange(1, labels + 1)
        cover += float(np.where(true_by_place, place, 0).max(axis=1).sum())
        precision = np.where(true_by_place, np.cumsum(true_by_place, axis=1) / place, 0.0)
        mean_precision = precision.sum(axis=1) / np.maximum(positives, 1)
        average_precision += float(mean_precision[decided].sum())

    def mean(total: float) -> float:
        return total / decided_images if decided_images else float("nan")

    values = {
        "hamming_loss": hamming_loss(predictions, targets),
        "ranking_loss": mean(wrong_pairs),
        "coverage": cover / images - 1,
        "one_error": mean(one_errors),
        "average_precision": mean(average_precision),
        **precision_recall(count(predictions, targets), undefined_precision=UNDEFINED_PRECISION),
    }
    return values, images - decided_images


def _by_place(predictions: Predictions, targets: Targets) -> Targets:
    """Each row of `targets` in the toolbox's ranking order, best place first."""
    # Read from the last column: predicted labels keep that order in front, the others follow.
    backwards = ~predictions[:, ::-1]
    order = np.argsort(backwards, axis=1, kind="stable")
    return np.take_along_axis(targets[:, ::-1], order, axis=1)
