"""The k images nearest to an anchor image, those of its own label set left out.

The paper names neighbours in input space as future work, and as its obstacle that they would have
to be searched over the whole training set in every iteration; here they are searched among the
images at hand, of the global batch and the bank.

Only *another label set* makes a neighbour: an image of the anchor's own set is no negative. Two
neighbours may share theirs, and a sample that the bank holds from several steps may come several
times: neighbours are images as they were seen.

Shapes: batch = anchors of this rank, columns = candidate images, embed = embedding width. Costs
one batch x columns matrix product.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F

from retdm.precision import exact_products


@torch.no_grad()
def nearest_images(
    anchors: Float[Tensor, "batch embed"],
    anchor_sets: Int64[Tensor, " batch"],
    candidates: Float[Tensor, "columns embed"],
    candidate_sets: Int64[Tensor, " columns"],
    *,
    k: int,
) -> tuple[Int64[Tensor, "batch k"], Bool[Tensor, "batch k"]]:
    """Find each anchor's neighbours by Euclidean distance.

    The order is by |c|^2 - 2 a.c, so two candidates whose distances differ by less than its
    rounding may come in either order.

    Args:
        anchors: Embeddings.
        anchor_sets: Number of each anchor's own label set.
        candidates: Embeddings in the same space.
        candidate_sets: Their label sets; -1 for one that must not be used.
        k: Neighbours wanted; 1 or more.

    Returns:
        Columns, nearest first, and which of them are real: where fewer candidates can be used,
        the last ones are column 0 and False in the mask.

    Example:
        >>> line = torch.tensor([[0.0], [1.0], [3.0], [7.0]])
        >>> sets = torch.tensor([5, 5, 6, 8])
        >>> columns, found = nearest_images(line, sets, line, sets, k=2)
        >>> columns.tolist()
        [[2, 3], [2, 3], [1, 0], [2, 1]]
    """
    # Rounded factors would mix up neighbours.
    with exact_products(anchors.device):
        order = candidates.square().sum(1) - 2 * (anchors @ candidates.T)
    usable = (candidate_sets >= 0) & (candidate_sets != anchor_sets[:, None])
    order = order.masked_fill(~usable, float("inf"))
    width = min(k, len(candidates))
    columns = order.topk(width, dim=1, largest=False, sorted=True).indices
    found = usable.gather(1, columns)
    missing = (0, k - width)
    return F.pad(columns.where(found, 0), missing), F.pad(found, missing)
