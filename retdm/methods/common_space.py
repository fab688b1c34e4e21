"""The space in which a method compares images and label sets, if it has one.

Shapes: rows = images or label sets, embed = width of the space.
"""

from collections.abc import Callable
from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from retdm import losses
from retdm.methods.base import Method, full_precision
from retdm.methods.c2ae import C2ae
from retdm.methods.retdm import Retdm
from retdm.models.autoencoder import CorrelatedAutoencoder


@dataclass(frozen=True, slots=True)
class CommonSpace:
    """How to get into it, and what is near there."""

    images: Callable[[Float[Tensor, "rows width"]], Float[Tensor, "rows embed"]]
    """From what the image net makes of images; scaled to length 1 where only directions count."""
    label_sets: Callable[[Bool[Tensor, "rows labels"]], Float[Tensor, "rows embed"]]
    """From multi-hot rows; scaled alike."""
    distance: Callable[[Tensor, Tensor], Tensor]
    """Between rows of both or of either kind, which may broadcast."""
    name: str
    """Of the distance."""


def common_space(method: Method) -> CommonSpace | None:
    """That of RETDM in all its ways, and of C2AE; None for methods without a label embedding."""
    if isinstance(method, Retdm):
        return _of_retdm(method)
    if isinstance(method, C2ae):
        net = method.parts["classifier"]
        assert isinstance(net, CorrelatedAutoencoder)
        return CommonSpace(
            net.project, net.encode, losses.euclidean, "Euclidean distance of the latents"
        )
    return None


def _of_retdm(method: Retdm) -> CommonSpace:
    settings = method.settings
    scaled = losses.unit if settings.score == "unit_sq_tau" else torch.nn.Identity()

    def label_sets(targets: Tensor) -> Tensor:
        placed: Tensor = scaled(full_precision(method.parts["label"](targets)))
        return placed

    names = {
        "unit_sq_tau": "squared distance of directions, 0 to 4",
        "neg_sq_dist": "squared Euclidean distance",
    }
    return CommonSpace(
        scaled,
        label_sets,
        # Directions stay what they are if they are scaled again.
        lambda a, b: losses.pair_distance(a, b, settings),
        names.get(settings.score, "Euclidean distance"),
    )
