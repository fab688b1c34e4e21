"""Binary cross-entropy of independent labels, eq. (10)."""

from typing import Literal

from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def bce(
    logits: Float[Tensor, "batch labels"],
    targets: Bool[Tensor, "batch labels"],
    *,
    reduction: Literal["mean", "sum"],
) -> Float[Tensor, " batch"]:
    """Negative log-likelihood of each image's labels, in nats.

    Args:
        logits: Before the sigmoid; the sigmoid is inside, so that large logits stay finite.
        targets: Which labels the image has.
        reduction: Over labels. The paper does not say which; they differ by a factor `labels`,
            which matters beside the other two losses.

    Returns:
        One value per image, 0 or more.

    Example:
        >>> import torch
        >>> targets = torch.tensor([[True, False]])
        >>> round(bce(torch.tensor([[0.0, 0.0]]), targets, reduction="sum").item(), 4)  # 2 log 2
        1.3863
        >>> round(bce(torch.tensor([[2.0, -2.0]]), targets, reduction="mean").item(), 4)
        0.1269
    """
    each = F.binary_cross_entropy_with_logits(logits, targets.to(logits.dtype), reduction="none")
    return each.mean(1) if reduction == "mean" else each.sum(1)
