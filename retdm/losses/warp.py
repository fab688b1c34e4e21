"""Weighted approximate ranking of labels (Gong et al., ICLR 2014, arXiv 1312.4894).

Shapes: batch = images, pairs = (image, label that it has), in the order of `targets.nonzero()`.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


def warp(
    logits: Float[Tensor, "batch labels"],
    targets: Bool[Tensor, "batch labels"],
    draws: Int64[Tensor, "pairs labels"] | None = None,
) -> Float[Tensor, " batch"]:
    r"""Hinge between every label an image has and every one it lacks, weighed by rank.

    $$\sum_{p \in pos} L(r_p) \sum_{q \in neg} [1 - z_p + z_q]_+, \qquad
      L(r) = \sum_{j=1}^{r} \frac{1}{j}$$

    A q with a positive hinge violates. The weight is a constant for the gradient. Costs
    pairs x labels in memory.

    Args:
        logits: What ranks the labels.
        targets: Which labels the image has.
        draws: None: r_p is exact, the number of violating labels. Otherwise random words, one
            for each pair and label: the labels that the image lacks are visited in order of
            their words until the s-th is the first that violates, and r_p is the estimate
            floor((labels - 1) / s). Every label is visited at most once, so a violating one
            is found where there is one.

    Returns:
        One value per image, 0 or more; 0 where nothing violates, and so for an image with no
        label or with all of them.

    Example:
        >>> import torch
        >>> logits = torch.tensor([[0.0, 0.5, 0.0, -3.0]])
        >>> first = torch.tensor([[True, False, False, False]])
        >>> warp(logits, first).item()  # L(2) * (1.5 + 1)
        3.75
        >>> warp(logits, first, torch.tensor([[0, 3, 2, 1]])).item()  # s = 2: L(1) * 2.5
        2.5
    """
    rows, columns = targets.nonzero(as_tuple=True)
    hinge = (1 - logits[rows, columns][:, None] + logits[rows]).relu()
    hinge = hinge.masked_fill(targets[rows], 0)
    with torch.no_grad():
        ranks = _exact(hinge) if draws is None else _sampled(hinge, targets[rows], draws)
        weights = _harmonic(targets.shape[1], hinge)[ranks]
    return logits.new_zeros(len(logits)).index_add(0, rows, weights * hinge.sum(1))


def _exact(hinge: Tensor) -> Tensor:
    return (hinge > 0).sum(1)


def _sampled(hinge: Tensor, present: Tensor, draws: Tensor) -> Tensor:
    """Estimated ranks; 0 where nothing violates."""
    last = torch.iinfo(draws.dtype).max
    first = draws.masked_fill(hinge == 0, last).amin(1, keepdim=True)
    trials = (~present & (draws <= first)).sum(1).clamp(min=1)
    return torch.where((hinge > 0).any(1), (hinge.shape[1] - 1) // trials, 0)


def _harmonic(labels: int, like: Tensor) -> Tensor:
    """L(0), L(1), ..., L(labels)."""
    steps = 1 / torch.arange(1, labels + 1, device=like.device, dtype=like.dtype)
    return torch.cat([steps.new_zeros(1), steps.cumsum(0)])
