"""Every metric of a result, by name: what `result.json` and `python -m retdm.evaluate` hold.

Families. Plain names follow the standard definitions and equal scikit-learn's where it has them.
`top3.*` predicts the three best labels of each image, `top3_thresholded.*` those of them that
also reach the threshold. `fitted.*` predicts by thresholds fitted on the validation split
(`retdm.evaluation.fitted`). `toolbox.*` are the figures that the paper's tables print
(`retdm.evaluation.toolbox`). `skipped.*` count what was left out, so nothing is silent.

The precision of a label that is never predicted is undefined. Both policies are there: it is 0 in
CP, CF1 and OP of all families but one, as in scikit-learn, and 1 in toolbox.CP, toolbox.CF1 and
toolbox.OP, as in the paper. They differ only where some label is never predicted.
"""

import math

import numpy.typing as npt

from retdm.evaluation.counts import (
    count,
    hamming_loss,
    over_threshold,
    precision_recall,
    top_k,
)
from retdm.evaluation.fitted import Thresholds
from retdm.evaluation.inputs import ScoresError, checked
from retdm.evaluation.per_label import average_precision_per_label, mean_average_precision
from retdm.evaluation.ranking import rank
from retdm.evaluation.toolbox import toolbox_metrics

TOP = 3


def evaluate(
    scores: npt.ArrayLike,
    targets: npt.ArrayLike,
    *,
    threshold: float = 0.5,
    fitted: Thresholds | None = None,
) -> dict[str, float]:
    """All metrics of one set of scores.

    Args:
        scores: Probabilities in [0, 1], images x labels.
        targets: True (or 1) where the image has the label, same shape.
        threshold: A label is predicted if its score is this or more; in [0, 1].
        fitted: One threshold for each label, from `fit_thresholds` on the validation split;
            adds the `fitted.*` family.

    Returns:
        Metric names and values. NaN where nothing was left to average: mAP without any
        positive, one_error without any labelled image, and the toolbox's ranking_loss,
        one_error and average_precision if every image has no label or all.

    Raises:
        ScoresError: If the arrays or the threshold are not as above.

    Example:
        >>> m = evaluate([[0.9, 0.2, 0.7], [0.1, 0.8, 0.3]], [[1, 0, 1], [1, 1, 0]])
        >>> m["mAP"], m["OP"], m["OR"], m["coverage"]
        (1.0, 1.0, 0.75, 2.5)
    """
    s, t = checked(scores, targets)
    if not (math.isfinite(threshold) and 0 <= threshold <= 1):
        raise ScoresError(f"threshold is {threshold}; wanted a probability in [0, 1]")
    predicted = over_threshold(s, threshold)
    ranking = rank(s, t)
    mean_ap, labels_without_ap = mean_average_precision(average_precision_per_label(s, t))
    toolbox, images_without_ranking = toolbox_metrics(predicted, t)
    strict = top_k(s, TOP)

    out = {
        "mAP": mean_ap,
        **precision_recall(count(predicted, t)),
        "hamming_loss": hamming_loss(predicted, t),
        "ranking_loss": ranking.ranking_loss,
        "coverage": ranking.coverage,
        "one_error": ranking.one_error,
        "average_precision": ranking.average_precision,
    }
    for family, predictions in (
        (f"top{TOP}", strict),
        (f"top{TOP}_thresholded", strict & predicted),
    ):
        figures = precision_recall(count(predictions, t))
        out |= {f"{family}.{name}": value for name, value in figures.items()}
    if fitted is not None:
        own = s >= fitted
        out |= {f"fitted.{name}": v for name, v in precision_recall(count(own, t)).items()}
        out["fitted.hamming_loss"] = hamming_loss(own, t)
    out |= {f"toolbox.{name}": value for name, value in toolbox.items()}
    out |= {
        "skipped.mAP": float(labels_without_ap),
        "skipped.one_error": float(ranking.skipped_one_error),
        "skipped.toolbox": float(images_without_ranking),
    }
    return out
