"""Softmax loss for several labels (Gong et al., ICLR 2014, arXiv 1312.4894)."""

from jaxtyping import Bool, Float
from torch import Tensor


def softmax(
    logits: Float[Tensor, "batch labels"], targets: Bool[Tensor, "batch labels"]
) -> Float[Tensor, " batch"]:
    r"""Cross-entropy between the softmax over labels and the image's labels, shared evenly.

    $$-\sum_c \frac{y_c}{|y|} \log \mathrm{softmax}(z)_c$$

    Args:
        logits: Before the softmax.
        targets: Which labels the image has.

    Returns:
        One value per image, in nats, $\log |y|$ or more; 0 for an image without a label,
        whose target would be no distribution.

    Example:
        >>> import torch
        >>> logits = torch.zeros(2, 4)
        >>> softmax(logits, torch.tensor([[True, True, False, False], [False] * 4])).tolist()
        [1.3862943649291992, 0.0]
    """
    y = targets.to(logits.dtype)
    share = y / y.sum(1, keepdim=True).clamp(min=1)
    return (share * -logits.log_softmax(1)).sum(1)
