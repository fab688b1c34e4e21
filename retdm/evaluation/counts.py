"""Precision, recall and F1 of 0/1 predictions, per label and overall.

All follow from three counts for each label: TP (predicted and true), Pred (predicted) and Pos
(true). "C-" figures are means over labels, "O-" figures come from the summed counts.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int64

from retdm.evaluation.inputs import Scores, Targets

Predictions = Bool[np.ndarray, "images labels"]
PerLabelFloat = Float[np.ndarray, " labels"]
PerLabelCount = Int64[np.ndarray, " labels"]


@dataclass(frozen=True, slots=True)
class LabelCounts:
    """Counts of one set of predictions, for each label."""

    true_positives: PerLabelCount
    predicted: PerLabelCount
    positives: PerLabelCount

    def precision(self, *, undefined: float = 0.0) -> PerLabelFloat:
        """TP / Pred in [0, 1]; `undefined` for a label that is never predicted."""
        return _ratio(self.true_positives, self.predicted, undefined)

    def recall(self, *, undefined: float = 0.0) -> PerLabelFloat:
        """TP / Pos in [0, 1]; `undefined` for a label that no image has."""
        return _ratio(self.true_positives, self.positives, undefined)

    def f1(self) -> PerLabelFloat:
        """2 TP / (Pred + Pos) in [0, 1]; 0 for a label neither predicted nor present."""
        return _ratio(2 * self.true_positives, self.predicted + self.positives, 0.0)


def count(predictions: Predictions, targets: Targets) -> LabelCounts:
    """Count for each label; every image counts once.

    Example:
        >>> c = count(np.array([[True, False], [True, True]]), np.array([[True, True]] * 2))
        >>> c.true_positives.tolist(), c.predicted.tolist(), c.positives.tolist()
        ([2, 1], [2, 1], [2, 2])
    """
    return LabelCounts(
        true_positives=np.count_nonzero(predictions & targets, axis=0).astype(np.int64),
        predicted=np.count_nonzero(predictions, axis=0).astype(np.int64),
        positives=np.count_nonzero(targets, axis=0).astype(np.int64),
    )


def over_threshold(scores: Scores, threshold: float) -> Predictions:
    """Predict every label whose score is `threshold` or more."""
    return np.asarray(scores >= threshold)


def top_k(scores: Scores, k: int) -> Predictions:
    """Predict the `k` best labels of each image; all of them if there are no more than `k`.

    Among labels with equal scores the earlier column is taken first, so that every image gets
    exactly `k` labels whatever the ties.

    Example:
        >>> top_k(np.array([[0.2, 0.9, 0.2, 0.2]]), 2).astype(int).tolist()
        [[1, 1, 0, 0]]
    """
    best = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    out = np.zeros(scores.shape, dtype=np.bool_)
    np.put_along_axis(out, best, True, axis=1)
    return out


def precision_recall(counts: LabelCounts, *, undefined_precision: float = 0.0) -> dict[str, float]:
    """CP, CR, CF1, CF1_mean, OP, OR and OF1, each in [0, 1], higher is better.

    CP and CR are scikit-learn's macro precision and recall over all labels, OP, OR and OF1 its
    micro ones. CF1 is the harmonic mean of CP and CR, as in the published COCO tables;
    CF1_mean is the mean of the labels' own F1, scikit-learn's macro F1, and never larger.

    Args:
        counts: From `count`.
        undefined_precision: Precision of a label that is never predicted, and of predicting
            nothing at all: 0 in scikit-learn (`zero_division=0`), 1 in the paper's tables.
            The recall of a label that no image has is 0.
    """
    cp = float(counts.precision(undefined=undefined_precision).mean())
    cr = float(counts.recall().mean())
    hits, predicted, positives = (
        int(c.sum()) for c in (counts.true_positives, counts.predicted, counts.positives)
    )
    return {
        "CP": cp,
        "CR": cr,
        "CF1": 2 * cp * cr / (cp + cr) if cp + cr else 0.0,
        "CF1_mean": float(counts.f1().mean()),
        "OP": hits / predicted if predicted else undefined_precision,
        "OR": hits / positives if positives else 0.0,
        "OF1": 2 * hits / (predicted + positives) if predicted + positives else 0.0,
    }


def hamming_loss(predictions: Predictions, targets: Targets) -> float:
    """Share of wrong cells in the whole table; in [0, 1], lower is better."""
    return float(np.count_nonzero(predictions ^ targets) / targets.size)


def _ratio(part: PerLabelCount, whole: PerLabelCount, undefined: float) -> PerLabelFloat:
    out = np.full(part.shape, undefined, dtype=np.float64)
    np.divide(part, whole, out=out, where=whole > 0)
    return out
