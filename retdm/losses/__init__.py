"""The objective's terms as pure functions, one value per image, unreduced over the batch."""

from retdm.losses.bce import bce
from retdm.losses.distance import euclidean, squared, unit
from retdm.losses.reconstruction import reconstruction
from retdm.losses.two_way import Way, pair_distance, way

__all__ = ["Way", "bce", "euclidean", "pair_distance", "reconstruction", "squared", "unit", "way"]
