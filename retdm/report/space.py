"""Where a run puts images and label sets: the numbers behind the figures of its space.

Only a sample of the images is looked at, evenly spread over the split, and their label sets.

Shapes: images = of the sample, sets = their distinct label sets, embed = width of the space.
"""

from dataclasses import dataclass

import numpy as np
import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retdm.bank import LabelSets, draw_columns, nearest_label_sets
from retdm.methods.common_space import CommonSpace, common_space
from retdm.train.evaluated import Evaluated

_MOST = 1000
"""Images of a sample."""
_CELLS = 1 << 22
"""Numbers in memory while distances are computed."""


@dataclass(frozen=True, eq=False)
class Space:
    """One run's."""

    known: LabelSets
    """Of the sample; what embedded label sets and their numbers are counted by."""
    images: Float[Tensor, "images embed"]
    sets: Float[Tensor, "sets embed"] | None
    """None for a method that does not embed label sets, as is the next."""
    common: CommonSpace | None


@dataclass(frozen=True, eq=False)
class Distances:
    """What the two ways compare, on the sample."""

    own: Float[Tensor, " images"]
    """Of each image to its own label set."""
    way1: Float[Tensor, " pairs"]
    """Of each image to the label sets nearest to its own."""
    way2: Float[Tensor, " pairs"]
    """Of each image's label set to images of those."""
    violated1: float
    """Share of the pairs that are no further apart than the image and its own."""
    violated2: float


@torch.inference_mode()
def place(found: Evaluated) -> Space:
    """Embed the sample's label sets; its images are embedded."""
    count = len(found.targets)
    chosen = np.unique(np.linspace(0, count - 1, min(_MOST, count)).round().astype(np.int64))
    known = LabelSets(torch.from_numpy(found.targets[chosen]))
    common = common_space(found.method)
    device = next(iter(found.method.state_dict().values())).device
    embedded = found.embeddings[torch.from_numpy(chosen)].to(device)
    if common is None:
        return Space(known, embedded.cpu(), None, None)
    sets = common.label_sets(known.targets.to(device))
    return Space(known, common.images(embedded).float().cpu(), sets.float().cpu(), common)


def between(
    a: Float[Tensor, "rows embed"], b: Float[Tensor, "columns embed"], common: CommonSpace
) -> Float[Tensor, "rows columns"]:
    """All distances, a few rows at a time."""
    step = max(_CELLS // max(b.numel(), 1), 1)
    return torch.cat([common.distance(part[:, None], b[None]) for part in torch.split(a, step)])


def own_and_neighbours(space: Space, *, k: int) -> Distances | None:
    """Distances to the own and to k neighbours, both ways; None without any neighbour.

    Neighbours are as in training: the nearest other label sets by Hamming distance, of those in
    the sample, ties in a random order; and one image of each, drawn at random.
    """
    assert space.sets is not None
    assert space.common is not None
    known = space.known
    at_hand = known.set_id
    numbers = torch.arange(len(at_hand))
    sets, real = nearest_label_sets(at_hand, known, None, k=k, seed=0, step=0)
    if not real.any():
        return None
    columns, drawn = draw_columns(sets, real, at_hand, numbers, seed=0, step=0)
    own_set = space.sets[at_hand]
    own = space.common.distance(space.images, own_set)
    way1 = space.common.distance(space.images[:, None], space.sets[sets])
    way2 = space.common.distance(space.images[columns], own_set[:, None])
    return Distances(
        own,
        way1[real],
        way2[drawn],
        _violated(own, way1, real),
        _violated(own, way2, drawn),
    )


def _violated(own: Tensor, other: Tensor, real: Bool[Tensor, "images k"]) -> float:
    return float((own[:, None] >= other)[real].double().mean())


def principal_plane(
    rows: Float[Tensor, "rows embed"],
) -> tuple[Float[Tensor, "rows 2"], tuple[float, float]]:
    """The rows in the plane in which they vary most, and the share of variance of each axis.

    Principal components, by the singular values of the centred rows; 0 where there is no second
    direction. Signs are such that the largest weight of each axis is positive.

    Example:
        >>> places, shares = principal_plane(torch.tensor([[0.0, 0, 0], [2, 0, 0], [4, 0, 0]]))
        >>> places.tolist(), shares
        ([[-2.0, 0.0], [0.0, 0.0], [2.0, 0.0]], (1.0, 0.0))
    """
    centred = rows.double() - rows.double().mean(0)
    _, values, axes = torch.linalg.svd(centred, full_matrices=False)
    axes = axes[:2] * axes[:2].gather(1, axes[:2].abs().argmax(1, keepdim=True)).sign()
    variance = values.square()
    total = float(variance.sum())
    shares = [float(part) / total if total else 0.0 for part in variance[:2]]
    places = centred @ axes.T
    missing = 2 - places.shape[1]
    places = torch.nn.functional.pad(places, (0, missing))
    first, second = [*shares, 0.0, 0.0][:2]
    return places, (first, second)


def frequent_sets(known: LabelSets) -> Int64[Tensor, " sets"]:
    """The numbers of the label sets, the most frequent first."""
    return known.set_id.bincount(minlength=len(known)).argsort(descending=True, stable=True)


def hamming(known: LabelSets) -> Int64[Tensor, "sets sets"]:
    """In how many labels each two sets differ."""
    targets = known.targets.double()
    sizes = targets.sum(1)
    common = targets @ targets.T
    return (sizes[:, None] + sizes[None] - 2 * common).round().long()


def set_name(labels: Bool[Tensor, " labels"], names: list[str]) -> str:
    """A label set as people call it.

    Example:
        >>> set_name(torch.tensor([True, False, True]), ["sea", "sky", "tree"])
        'sea + tree'
    """
    present = [name for name, there in zip(names, labels.tolist(), strict=True) if there]
    return " + ".join(present) or "(no label)"
