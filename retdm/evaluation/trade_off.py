"""Precision against recall as the threshold falls."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float


@dataclass(frozen=True, slots=True)
class TradeOff:
    """A point for each distinct score, the highest first; its threshold is that score."""

    precision: Float[np.ndarray, " points"]
    recall: Float[np.ndarray, " points"]
    threshold: Float[np.ndarray, " points"]

    def thinned(self, points: int) -> "TradeOff":
        """At most about so many, evenly spread over recall; the first and the last stay."""
        if len(self.recall) <= points:
            return self
        levels = np.linspace(0, self.recall[-1], points)
        at = np.unique(np.minimum(np.searchsorted(self.recall, levels), len(self.recall) - 1))
        return TradeOff(self.precision[at], self.recall[at], self.threshold[at])


def trade_off(
    scores: Float[np.ndarray, " cells"], targets: Bool[np.ndarray, " cells"]
) -> TradeOff | None:
    """Of one label's images, or of all cells of a table as one list (micro); None: none is true.

    scikit-learn's `precision_recall_curve`, in the other order and without its added last point.

    Example:
        >>> found = trade_off(np.array([0.9, 0.4, 0.4]), np.array([True, True, False]))
        >>> found.recall.tolist(), found.precision.round(3).tolist()
        ([0.5, 1.0], [1.0, 0.667])
    """
    if not targets.any():
        return None
    order: npt.NDArray[np.intp] = np.argsort(scores)[::-1]
    falling = scores[order]
    ends = np.append(np.flatnonzero(falling[:-1] != falling[1:]), len(falling) - 1)
    hits = np.cumsum(targets[order])[ends]
    return TradeOff(
        (hits / (ends + 1)).astype(np.float64),
        (hits / hits[-1]).astype(np.float64),
        falling[ends].astype(np.float64),
    )
