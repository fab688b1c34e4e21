"""How well labels can be read back from their own embedding, eq. (12)."""

from jaxtyping import Bool, Float
from torch import Tensor


def reconstruction(
    decoded: Float[Tensor, "batch labels"], targets: Bool[Tensor, "batch labels"]
) -> Float[Tensor, " batch"]:
    """Squared error between the decoded label vector and the true 0/1 one.

    The paper writes a mean squared error without saying over what; here it is the mean over
    labels, so that lambda2 means the same for 5 labels and for 80.

    Returns:
        One value per image, 0 or more.

    Example:
        >>> import torch
        >>> targets = torch.tensor([[True, False]])
        >>> reconstruction(torch.tensor([[0.5, 1.0]]), targets).item()  # (0.5^2 + 1^2) / 2
        0.625
    """
    return (decoded - targets.to(decoded.dtype)).square().mean(1)
