"""From scores to predicted labels: by thresholds, or the best of each image."""

from collections.abc import Sequence

import numpy as np

from retdm.errors import ConfigError
from retdm.evaluation.counts import Predictions, top_k
from retdm.evaluation.fitted import Thresholds
from retdm.evaluation.inputs import Scores


def choose(
    fitted: Thresholds | None, *, fixed: float, labels: int, which: str | float | None
) -> Thresholds:
    """The threshold of each label.

    Args:
        fitted: The model's, from its validation split; None without.
        fixed: The run's own, for all labels.
        labels: How many.
        which: "fitted", "fixed" or a number for all labels; None: fitted ones where there are any.

    Raises:
        ConfigError: If there are no fitted ones, or the number is no probability.
    """
    if which == "fitted" or which is None:
        if fitted is not None:
            return fitted
        if which == "fitted":
            raise ConfigError(
                "there are no fitted thresholds: they come with the result of a finished run, "
                'for its best checkpoint; use "fixed" or a number'
            )
    elif which != "fixed":
        fixed = _number(which)
    return np.full(labels, fixed)


def predictions(scores: Scores, thresholds: Thresholds, *, top: int | None) -> Predictions:
    """Which labels are predicted: those from their threshold on, or the `top` best if given."""
    return np.asarray(scores >= thresholds) if top is None else top_k(scores, top)


def names(scores: Scores, predicted: Predictions, labels: Sequence[str]) -> list[list[str]]:
    """The predicted labels of each image, the best first.

    Example:
        >>> scores = np.array([[0.6, 0.9, 0.1]])
        >>> names(scores, scores >= 0.5, ["sea", "sky", "boat"])
        [['sky', 'sea']]
    """
    order = np.argsort(-scores, axis=1, kind="stable")
    return [
        [labels[column] for column in columns if chosen[column]]
        for columns, chosen in zip(order.tolist(), predicted.tolist(), strict=True)
    ]


def _number(given: str | float) -> float:
    try:
        number = float(given)
    except ValueError:
        number = float("nan")
    if not 0 <= number <= 1:
        raise ConfigError(f'threshold is {given!r}; give "fixed", "fitted" or a number in [0, 1]')
    return number
