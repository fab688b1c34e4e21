"""Whether probabilities mean what they say: of what is called 70 %, 70 % should be true."""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Float, Int64

from retdm.evaluation.inputs import Scores, Targets

PerBin = Float[np.ndarray, " bins"]


@dataclass(frozen=True, slots=True)
class Reliability:
    """All cells (an image and a label each) by their score, in bins of one width."""

    score: PerBin
    """Mean score of the cells in each bin; NaN in an empty one."""
    share: PerBin
    """Share of them whose label the image has; NaN in an empty one."""
    cells: Int64[np.ndarray, " bins"]
    error: float
    """Mean of |score - share| over all cells (expected calibration error); in [0, 1]."""


def reliability(scores: Scores, targets: Targets, *, bins: int = 10) -> Reliability:
    """Put the cells of all labels into `bins` bins over [0, 1]; 1 belongs to the last.

    Example:
        >>> found = reliability(np.array([[0.9, 0.1]]), np.array([[True, True]]), bins=2)
        >>> found.share.tolist(), found.cells.tolist(), round(found.error, 6)
        ([1.0, 1.0], [1, 1], 0.5)
    """
    values = scores.ravel().astype(np.float64)
    bin_of = np.minimum((values * bins).astype(np.int64), bins - 1)
    cells = np.bincount(bin_of, minlength=bins).astype(np.int64)
    with np.errstate(invalid="ignore"):
        score = np.bincount(bin_of, weights=values, minlength=bins) / cells
        share = np.bincount(bin_of, weights=targets.ravel(), minlength=bins) / cells
    error = float(np.nansum(cells * np.abs(score - share)) / len(values))
    return Reliability(score, share, cells, error)
