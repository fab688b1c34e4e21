"""The nearest points, exactly."""

import importlib.util
from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retdm.errors import ConfigError


class Found(NamedTuple):
    """The nearest points of each query, the nearest first."""

    rows: Int64[ndarray, "queries k"]
    distances: Float32[ndarray, "queries k"]
    """Euclidean."""


def need_search() -> None:
    """See that scikit-learn is there.

    Raises:
        ConfigError: If not; says how to get it.
    """
    if importlib.util.find_spec("sklearn") is None:
        raise ConfigError(
            "searching needs scikit-learn; install it with: pip install 'retdm[search]'"
        )


class Nearest:
    """Searches among points."""

    def __init__(self, points: Float32[ndarray, "points embed"]) -> None:
        need_search()
        from sklearn.neighbors import NearestNeighbors

        self._size = len(points)
        self._neighbours = NearestNeighbors(algorithm="brute").fit(points)

    def search(self, queries: Float32[ndarray, "queries embed"], k: int) -> Found:
        """The `k` nearest points of each query; all if there are fewer."""
        k = min(k, self._size)
        distances, rows = self._neighbours.kneighbors(queries, k)
        return Found(rows.astype(np.int64), distances.astype(np.float32))
