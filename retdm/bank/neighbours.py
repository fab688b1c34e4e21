"""The k label sets nearest to an anchor's own, which itself never counts, and the k images so.

An equal label set would ask for d < d and can never be satisfied, so only *different* sets are
neighbours. The distance is Hamming. Ties are massive (many sets differ in one label), and are
broken by a random order of all sets, drawn anew for each (seed, step) and equal on all ranks.

Shapes: batch = anchors of this rank, images = those searched. Costs one product of the batch's
distinct label sets with those searched, and one pass over its result; memory is for these too,
whatever the number of sets in the table. Images (`nearest_instances`) cost the same for each image
searched as label sets do for each set.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F

from retdm.bank import keyed
from retdm.bank.label_sets import LabelSets
from retdm.precision import exact_products

_BLOCK = 64


def nearest_label_sets(
    anchors: Int64[Tensor, " batch"],
    label_sets: LabelSets,
    image_sets: Int64[Tensor, " images"] | None,
    *,
    k: int,
    seed: int,
    step: int,
) -> tuple[Int64[Tensor, "batch k"], Bool[Tensor, "batch k"]]:
    """Find each anchor's neighbours.

    Args:
        anchors: Number of each anchor's own label set.
        label_sets: All sets that a number can stand for.
        image_sets: Label sets that may be neighbours, those of the images at hand: a set may come
            several times, and -1 is none. None: all sets.
        k: Neighbours wanted; 1 or more.
        seed: Of the run.
        step: Global step; with `seed`, fixes the order of ties.

    Returns:
        Set numbers, nearest first, and which of them are real. There are min(k, sets) columns;
        where fewer other sets are at hand, the last ones are False in the mask.
    """
    own, row = torch.unique(anchors, return_inverse=True)
    if image_sets is None:
        sets = torch.arange(len(label_sets), device=own.device)
    else:
        sets = torch.unique(image_sets[image_sets >= 0])
    shuffle = _tie_order(sets, keyed.key(seed, step, keyed.Draw.LABEL_SET_TIES))
    order = _order(own, label_sets, sets[shuffle])
    # A row's own set is in one column at most: a pass over all of them would take longer.
    at = torch.searchsorted(sets, own)
    there = (at < torch.searchsorted(sets, own, right=True)).nonzero()[:, 0]
    column = torch.empty_like(shuffle)
    column[shuffle] = torch.arange(len(shuffle), device=own.device)
    order[there, column[at[there]]] = float("inf")
    found, real = _nearest(order, sets[shuffle], min(k, len(label_sets)))
    return found[row], real[row]


def nearest_instances(
    anchors: Int64[Tensor, " batch"],
    label_sets: LabelSets,
    image_sets: Int64[Tensor, " images"],
    *,
    k: int,
    seed: int,
    step: int,
) -> tuple[Int64[Tensor, "batch k"], Bool[Tensor, "batch k"]]:
    """Find the images whose label sets are nearest to each anchor's own.

    Neighbours may share a label set: frequent ones weigh more.

    Args:
        anchors: Number of each anchor's own label set.
        label_sets: All sets that a number can stand for.
        image_sets: Label set of each image searched; -1 for one that must not be used.
        k: Neighbours wanted; 1 or more.
        seed: Of the run.
        step: Global step; with `seed`, fixes the order of ties among the usable images.

    Returns:
        Places in `image_sets`, nearest first, and which of them are real. There are
        min(k, images) columns; where fewer images can be used, the last ones are False.
    """
    own, row = torch.unique(anchors, return_inverse=True)
    usable = (image_sets >= 0).nonzero()[:, 0]
    # Named by their rank among the usable ones: padding between them must not change the draw.
    names = torch.arange(len(usable), device=usable.device)
    base = keyed.key(seed, step, keyed.Draw.INSTANCE_TIES)
    searched = usable[_tie_order(names, base)]
    sets = image_sets[searched]
    order = _order(own, label_sets, sets).masked_fill_(sets == own[:, None], float("inf"))
    found, real = _nearest(order, searched, min(k, len(image_sets)))
    return found[row], real[row]


def _tie_order(names: Tensor, base: int) -> Tensor:
    """Places of `names` in random order: of equally near ones the earlier is preferred."""
    return keyed.words(base, names).argsort(stable=True)


def _nearest(order: Tensor, searched: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` of those searched that come first in each row of `order`, and which are real."""
    values, columns = _smallest(order, width)
    # The added place is what a masked column points to where nothing is searched at all.
    return F.pad(searched, (0, 1))[columns], values.isfinite()


def _order(own: Tensor, label_sets: LabelSets, searched: Tensor) -> Tensor:
    """Numbers that sort each row by distance, then by column.

    They are whole numbers, which float32 holds exactly up to 2^24 and float64 up to 2^53.
    """
    rows, columns = label_sets.targets[own].float(), label_sets.targets[searched].float()
    count, labels = len(searched), label_sets.targets.shape[1]
    dtype = torch.float32 if 2 * (labels + 1) * count < 2**24 else torch.float64
    # Sums above 256 have no exact bfloat16.
    with exact_products(own.device):
        common = (rows @ columns.T).to(dtype)
    # Hamming distance |a| + |b| - 2 |a and b|, without |a|, which a row's order does not need.
    size = columns.sum(1).to(dtype) * count
    return common.mul_(-2 * count).add_(size + torch.arange(count, device=own.device))


def _smallest(order: Tensor, width: int) -> tuple[Tensor, Tensor]:
    """The `width` smallest values of each row and their columns; infinity fills what is missing.

    The k smallest lie in the k blocks with the smallest minima, so only those are sorted: a
    minimum runs at the speed of memory, a sort of whole rows would cost more than the product.
    """
    missing = -order.shape[1] % _BLOCK + _BLOCK * max(width - -(-order.shape[1] // _BLOCK), 0)
    blocks = F.pad(order, (0, missing), value=float("inf"))
    blocks = blocks.view(len(order), -1, _BLOCK)
    chosen = blocks.amin(2).topk(width, dim=1, largest=False).indices
    near = blocks.gather(1, chosen[:, :, None].expand(-1, -1, _BLOCK)).flatten(1)
    values, at = near.topk(width, dim=1, largest=False, sorted=True)
    columns = chosen.gather(1, at // _BLOCK) * _BLOCK + at % _BLOCK
    return values, columns.where(values.isfinite(), 0)
