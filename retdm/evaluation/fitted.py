"""One threshold for each label, fitted on a split that is neither trained nor tested on.

A fixed 0.5 asks for calibrated probabilities, which a rare label seldom gets. Fitted thresholds
say how good the 0/1 predictions can be made without touching the test split.
"""

import numpy as np
from jaxtyping import Bool, Float64

from retdm.evaluation.inputs import Scores, Targets

Thresholds = Float64[np.ndarray, " labels"]


def fit_thresholds(scores: Scores, targets: Targets, *, otherwise: float = 0.5) -> Thresholds:
    """The threshold of each label with the best F1; the label is predicted from there on.

    Thresholds lie halfway between two neighbouring scores (or the ends of [0, 1]). Among equally
    good ones the one in the widest gap is taken, then the highest. O(images log images) a label.

    Args:
        scores: Probabilities in [0, 1], of the validation split.
        targets: Its targets.
        otherwise: For a label without any positive, about which the split says nothing.

    Example:
        >>> s = np.array([[0.9], [0.4], [0.3], [0.1]])
        >>> t = np.array([[True], [True], [False], [False]])
        >>> fit_thresholds(s, t).round(3).tolist()
        [0.35]
    """
    out = np.full(scores.shape[1], float(otherwise))
    for label in np.flatnonzero(targets.any(axis=0)):
        out[label] = _fit(scores[:, label].astype(np.float64), targets[:, label])
    return out


def _fit(scores: Float64[np.ndarray, " images"], targets: Bool[np.ndarray, " images"]) -> float:
    order = np.argsort(scores)[::-1]
    falling = scores[order]
    # Equal scores are predicted together: a cut is after the last of them.
    last = np.append(np.flatnonzero(falling[:-1] != falling[1:]), len(falling) - 1)
    hits = np.cumsum(targets[order])[last]
    above, below = falling[last], np.append(falling[last[:-1] + 1], 0.0)
    f1 = 2 * hits / (last + 1 + np.count_nonzero(targets))
    best = np.flatnonzero(f1 == f1.max())
    gaps = (above - below)[best]
    cut = best[np.argmax(gaps)]
    return float((above[cut] + below[cut]) / 2)
