"""How good lists of found things are: precision and mean average precision at k.

Of a query with R relevant things among all that could be found, AP@k is the sum of the precisions
at the places i <= k where a relevant one stands, over min(R, k): 1 exactly if the list begins with
as many relevant ones as there can be. Queries without anything relevant count nowhere.
"""

import numpy as np
from jaxtyping import Bool, Float64, Int64
from numpy import ndarray


def precision_at(relevant: Bool[ndarray, "queries k"]) -> Float64[ndarray, " queries"]:
    """The share of relevant ones in each list."""
    return np.asarray(relevant.mean(axis=1, dtype=np.float64))


def average_precision_at(
    relevant: Bool[ndarray, "queries k"], existing: Int64[ndarray, " queries"]
) -> Float64[ndarray, " queries"]:
    """AP@k of each list.

    Args:
        relevant: Which of the found ones are, in the order of the list.
        existing: How many relevant ones there are, 1 or more.

    Example:
        >>> average_precision_at(np.array([[True, False, True]]), np.array([2])).round(3).tolist()
        [0.833]
    """
    k = relevant.shape[1]
    precisions = relevant.cumsum(axis=1) / np.arange(1, k + 1)
    return np.asarray((precisions * relevant).sum(axis=1) / np.minimum(existing, k))
