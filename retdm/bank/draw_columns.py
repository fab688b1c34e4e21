"""One image for each neighbouring label set, for the second way of the loss.

The paper does not say which image stands for a label set that several share. The reading here:
one of the candidates (images of the global batch and of the bank), each with equal probability,
drawn anew for each (seed, step, anchor, set). The draw does not depend on how the batch is
split over ranks, because it is keyed by the anchor's sample, not by its position.

Shapes: batch = anchors of this rank, k = neighbours, columns = candidate images.
"""

import torch
from jaxtyping import Bool, Int64
from torch import Tensor

from retdm.bank import keyed


def draw_columns(
    neighbours: Int64[Tensor, "batch k"],
    mask: Bool[Tensor, "batch k"],
    column_sets: Int64[Tensor, " columns"],
    anchors: Int64[Tensor, " batch"],
    *,
    seed: int,
    step: int,
) -> tuple[Int64[Tensor, "batch k"], Bool[Tensor, "batch k"]]:
    """Draw a candidate column for each neighbouring label set.

    Args:
        neighbours: Label set numbers.
        mask: Which of them are real.
        column_sets: Label set number of each candidate image; -1 for a column not to be used.
        anchors: Each anchor's sample (its row in the training table); only names the draw.
        seed: Of the run.
        step: Global step.

    Returns:
        Columns, and which of them are real: False where the neighbour is not, or has no image
        among the candidates (then the column is 0).
    """
    in_order, columns = column_sets.sort(stable=True)
    first = torch.searchsorted(in_order, neighbours)
    count = torch.searchsorted(in_order, neighbours, right=True) - first
    found = mask & (count > 0)
    word = keyed.fold(keyed.key(seed, step, keyed.Draw.COLUMN), anchors[:, None], neighbours)
    # With counts far below 2^63 the remainder is uniform for every purpose.
    at = first + word % count.clamp(min=1)
    return torch.where(found, columns[at.clamp(max=len(columns) - 1)], 0), found
