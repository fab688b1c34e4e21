"""Which labels come together."""

import numpy as np
from jaxtyping import Bool, Float


def together(
    labels: Bool[np.ndarray, "images labels"],
) -> Float[np.ndarray, "labels labels"]:
    """Share of the images with the row's label that have the column's too, in [0, 1].

    Returns:
        Ones on the diagonal; NaN in the row of a label that no image has.

    Example:
        >>> together(np.array([[True, True, False], [True, False, False]])).tolist()
        [[1.0, 0.5, 0.0], [1.0, 1.0, 0.0], [nan, nan, nan]]
    """
    counts = labels.astype(np.float64)
    both = counts.T @ counts
    with np.errstate(invalid="ignore"):
        shares: Float[np.ndarray, "labels labels"] = both / np.diag(both)[:, None]
    return shares
