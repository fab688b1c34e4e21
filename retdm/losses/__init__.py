"""The objective's terms as pure functions, one value per image, unreduced over the batch."""

from retdm.losses.asl import asl
from retdm.losses.bce import bce
from retdm.losses.c2ae import latent_distance, orthogonality, pairwise_exponential
from retdm.losses.center import center_of_classes, center_of_labels, moved_centres
from retdm.losses.distance import euclidean, squared, unit
from retdm.losses.label_sequence import label_sequences, sequence_nll
from retdm.losses.reconstruction import reconstruction
from retdm.losses.softmax import softmax
from retdm.losses.two_way import Way, pair_distance, way
from retdm.losses.warp import warp

__all__ = [
    "Way",
    "asl",
    "bce",
    "center_of_classes",
    "center_of_labels",
    "euclidean",
    "label_sequences",
    "latent_distance",
    "moved_centres",
    "orthogonality",
    "pair_distance",
    "pairwise_exponential",
    "reconstruction",
    "sequence_nll",
    "softmax",
    "squared",
    "unit",
    "warp",
    "way",
]
