"""Centre loss (Wen et al., ECCV 2016) for several labels, and how its centres move.

Shapes: batch = images, groups = what has a centre, width = of the features; "groups" may be
several dimensions, as (labels, 2) for the two classes of each label.
"""

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from retdm.losses.distance import squared


def center_of_labels(
    features: Float[Tensor, "batch width"],
    centres: Float[Tensor, "labels width"],
    targets: Bool[Tensor, "batch labels"],
) -> Float[Tensor, " batch"]:
    r"""Half the squared distance to the centres of the image's labels, on average.

    $$\frac{1}{2|y|} \sum_{l \in y} \| f - c_l \|^2$$

    An image with several labels is pulled to the mean of their centres, and pulls each of them
    to itself: centres of labels that often occur together merge, and what told such labels
    apart is lost with them. Costs batch x labels x width.

    Args:
        features: Of the images.
        centres: One for each label; constants.
        targets: Which labels the image has.

    Returns:
        One value per image, 0 or more; 0 for an image without a label.

    Example:
        >>> import torch
        >>> both = torch.tensor([[True, True]])
        >>> centres = torch.tensor([[0.0], [4.0]])
        >>> center_of_labels(torch.tensor([[2.0]]), centres, both).item()  # the best there is
        2.0
    """
    share = targets.to(features.dtype)
    share = share / share.sum(1, keepdim=True).clamp(min=1)
    return (share * squared(features[:, None], centres)).sum(1) / 2


def center_of_classes(
    features: Float[Tensor, "batch labels width"],
    logits: Float[Tensor, "batch labels 2"],
    centres: Float[Tensor, "labels 2 width"],
    targets: Bool[Tensor, "batch labels"],
    *,
    weight: float,
) -> Float[Tensor, "batch labels"]:
    r"""Softmax and centre loss of one two-class problem for each label.

    With b = 1 where the image has the label and 0 where not, a label's loss is

    $$-\log \mathrm{softmax}(s)_b + \frac{\lambda}{2} \| z - c_b \|^2$$

    Args:
        features: z, a feature of its own for each label.
        logits: s, of the classes absent and present.
        centres: c, one for each of the two classes of each label; constants.
        targets: Which labels the image has.
        weight: Lambda, 0 or more.

    Returns:
        One value per image and label, 0 or more.

    Example:
        >>> import torch
        >>> z, centres = torch.tensor([[[3.0]]]), torch.tensor([[[0.0], [1.0]]])
        >>> sure = torch.tensor([[[-50.0, 50.0]]])
        >>> present = torch.tensor([[True]])
        >>> center_of_classes(z, sure, centres, present, weight=0.5).item()  # 0.25 * (3 - 1)^2
        1.0
    """
    present = targets.long()
    nll = F.cross_entropy(logits.flatten(0, 1), present.flatten(), reduction="none")
    own = torch.where(targets[..., None], centres[:, 1], centres[:, 0])
    return nll.view_as(targets) + weight / 2 * squared(features, own)


def moved_centres(
    centres: Float[Tensor, "*groups width"],
    sums: Float[Tensor, "*groups width"],
    counts: Float[Tensor, "*groups"],
    *,
    alpha: float,
) -> Float[Tensor, "*groups width"]:
    r"""The centres after one batch.

    $$c \leftarrow c - \alpha \frac{\sum_{i \in group} (c - f_i)}{1 + n}$$

    The 1 + n, n being the group's size in the batch, makes a step of a group's centre depend
    little on how frequent it is; gradient descent on the centres would lack it.

    Args:
        centres: Before.
        sums: Of the features of each group's members in the batch.
        counts: How many members; a group without one keeps its centre.
        alpha: The rate, in (0, 1].

    Example:
        >>> import torch
        >>> at, three = torch.tensor([[0.0]]), torch.tensor([3.0])
        >>> moved_centres(at, torch.tensor([[12.0]]), three, alpha=0.5).item()
        1.5
    """
    n = counts[..., None]
    return centres - alpha * (n * centres - sums) / (1 + n)
