"""Average precision of each label over all images, the mAP made of them, and its baseline."""

import numpy as np

from retdm.evaluation.counts import PerLabelFloat
from retdm.evaluation.inputs import Scores, Targets


def average_precision_per_label(scores: Scores, targets: Targets) -> PerLabelFloat:
    r"""Area under each label's precision-recall steps, without interpolation.

    $AP = \sum_n (R_n - R_{n-1}) P_n$ over the distinct scores from high to low: images with
    equal scores enter together, so their order does not matter. Equals scikit-learn's
    `average_precision_score`.

    Returns:
        One value for each label, in [0, 1]; NaN for a label that no image has.

    Example:
        >>> s = np.array([[0.8, 0.5], [0.4, 0.5], [0.35, 0.5], [0.1, 0.5]])
        >>> t = np.array([[True, True], [False, False], [True, False], [False, False]])
        >>> average_precision_per_label(s, t).round(3).tolist()
        [0.833, 0.25]
    """
    out = np.full(scores.shape[1], np.nan)
    for label in np.flatnonzero(targets.any(axis=0)):
        column = scores[:, label]
        order = np.argsort(column)[::-1]
        column = column[order]
        ends = np.append(np.flatnonzero(column[:-1] != column[1:]), len(column) - 1)
        hits = np.cumsum(targets[order, label])[ends]
        out[label] = np.sum(np.diff(hits, prepend=0) * (hits / (ends + 1))) / hits[-1]
    return out


def mean_average_precision(average_precision: PerLabelFloat) -> tuple[float, int]:
    """The mAP and the number of labels left out of it because no image has them.

    Returns:
        The mean in [0, 1], NaN if no label is left; and the count.
    """
    known = average_precision[~np.isnan(average_precision)]
    skipped = len(average_precision) - len(known)
    return (float(known.mean()) if len(known) else float("nan")), skipped


def label_frequency_map(targets: Targets) -> float:
    """The mAP of a model that gives every image the same scores: what to beat.

    Such a label's average precision is the share of images that have it, so this is the mean
    share over the labels that occur. NaN if none does.

    Example:
        >>> label_frequency_map(np.array([[True, False], [True, True]]))
        0.75
    """
    shares = targets.mean(axis=0)
    return float(shares[shares > 0].mean()) if shares.any() else float("nan")
