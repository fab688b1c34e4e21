"""The nearest points, exactly."""

from typing import NamedTuple

import numpy as np
from jaxtyping import Float32, Int64
from numpy import ndarray

from retdm.errors import ConfigError


class Found(NamedTuple):
    """The nearest points of each query, the nearest first."""

    rows: Int64[ndarray, "queries k"]
    distances: Float32[ndarray, "queries k"]
    """Euclidean; of points scaled to length 1 from 0 to 2."""


class Nearest:
    """Searches among points.

    Args:
        points: In rows.
        by_angle: Whether points and queries are scaled to length 1 before.
    """

    def __init__(self, points: Float32[ndarray, "points embed"], *, by_angle: bool) -> None:
        try:
            from sklearn.neighbors import NearestNeighbors
        except ModuleNotFoundError as error:
            raise ConfigError(
                "searching needs scikit-learn; install it with: pip install 'retdm[search]'"
            ) from error
        self._by_angle = by_angle
        self._size = len(points)
        self._neighbours = NearestNeighbors(algorithm="brute").fit(self._scaled(points))

    def search(self, queries: Float32[ndarray, "queries embed"], k: int) -> Found:
        """The `k` nearest points of each query; all if there are fewer."""
        k = min(k, self._size)
        distances, rows = self._neighbours.kneighbors(self._scaled(queries), k)
        return Found(rows.astype(np.int64), distances.astype(np.float32))

    def _scaled(
        self, points: Float32[ndarray, "points embed"]
    ) -> Float32[ndarray, "points embed"]:
        if not self._by_angle:
            return points
        lengths = np.linalg.norm(points, axis=1, keepdims=True)
        return np.asarray(points / np.maximum(lengths, np.float32(1e-12)))
