"""The k label sets nearest to an anchor's own, which itself never counts.

An equal label set would ask for d < d and can never be satisfied, so only *different* sets are
neighbours. The distance is Hamming. Ties are massive (many sets differ in one label), and are
broken by a random order of all sets, drawn anew for each (seed, step) and equal on all ranks.

Shapes: batch = anchors of this rank, sets = distinct label sets of the training table. Costs one
batch x sets matrix product; nothing of size sets x sets is ever built.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor
from torch.nn import functional as F

from retdm.bank import keyed
from retdm.bank.label_sets import LabelSets

_TIES = 1
_NEVER = 1 << 62


def nearest_label_sets(
    anchors: Int64[Tensor, " batch"],
    label_sets: LabelSets,
    present: Bool[Tensor, " sets"] | None,
    *,
    k: int,
    seed: int,
    step: int,
) -> tuple[Int64[Tensor, "batch k"], Bool[Tensor, "batch k"]]:
    """Find each anchor's neighbours.

    Args:
        anchors: Number of each anchor's own label set.
        label_sets: All sets that a number can stand for.
        present: Which sets may be neighbours; None: all.
        k: Neighbours wanted; 1 or more.
        seed: Of the run.
        step: Global step; with `seed`, fixes the order of ties.

    Returns:
        Set numbers, nearest first, and which of them are real. There are min(k, sets) columns;
        where fewer other sets are present, the last ones are False in the mask.
    """
    searched = _all(label_sets) if present is None else present.nonzero()[:, 0]
    width = min(k, len(label_sets))
    order = _order(anchors, label_sets, searched, keyed.key(seed, step, _TIES))
    order = F.pad(order, (0, max(width - len(searched), 0)), value=_NEVER)
    searched = F.pad(searched, (0, order.shape[1] - len(searched)))
    values, columns = order.topk(width, dim=1, largest=False, sorted=True)
    return searched[columns], values < _NEVER


def _all(label_sets: LabelSets) -> Tensor:
    return torch.arange(len(label_sets), device=label_sets.set_id.device)


def _order(anchors: Tensor, label_sets: LabelSets, searched: Tensor, base: int) -> Tensor:
    """Integers that sort by distance, then by the tie rule; no two in a row are equal."""
    # Counts above 256 have no exact bfloat16: an autocast region must not touch this product.
    with torch.autocast(anchors.device.type, enabled=False):
        rows, columns = label_sets.as_float[anchors], label_sets.as_float[searched]
        common = rows @ columns.T
        hamming = rows.sum(1)[:, None] + columns.sum(1) - 2 * common
    place = torch.empty_like(searched)
    shuffled = keyed.words(base, searched).argsort(stable=True)
    place[shuffled] = torch.arange(len(searched), device=searched.device)
    order = hamming.long() * len(searched) + place
    return order.masked_fill(searched == anchors[:, None], _NEVER)
