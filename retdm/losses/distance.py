"""Distances between embeddings, safe where two of them coincide.

Shapes: "..." may broadcast; embed = embedding width. Distances are taken on differences, not by
the expansion |a|^2 + |b|^2 - 2ab, which loses all digits for near points in float32.
"""

from jaxtyping import Float
from torch import Tensor

EPS = 1e-12
"""Added under square roots: their derivative at 0 is infinite, and 0 times infinity is NaN."""


def squared(a: Float[Tensor, "... embed"], b: Float[Tensor, "... embed"]) -> Float[Tensor, "..."]:
    """Squared Euclidean distance along the last dimension; 0 or more."""
    return (a - b).square().sum(-1)


def euclidean(
    a: Float[Tensor, "... embed"], b: Float[Tensor, "... embed"]
) -> Float[Tensor, "..."]:
    """Euclidean distance sqrt(d^2 + 1e-12), at least 1e-6; its gradient at 0 is 0.

    Example:
        >>> import torch
        >>> x = torch.zeros(1, 2, requires_grad=True)
        >>> euclidean(x, torch.zeros(1, 2)).sum().backward()
        >>> x.grad.tolist()
        [[0.0, 0.0]]
    """
    return (squared(a, b) + EPS).sqrt()


def unit(x: Float[Tensor, "... embed"]) -> Float[Tensor, "... embed"]:
    """Scale each vector to length 1; the zero vector stays zero."""
    return x / (x.square().sum(-1, keepdim=True) + EPS).sqrt()
