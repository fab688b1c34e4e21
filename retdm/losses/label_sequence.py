"""Label sets as sequences, and their likelihood (Wang et al., CVPR 2016, arXiv 1604.04573).

A sequence names an image's labels, each once, and then END, whose number is `labels`. The padding
after END is END again.

Shapes: batch = images, labels = columns of the label space, steps = length of the longest
sequence, its END included.
"""

from typing import Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor
from torch.nn import functional as F


def label_sequences(
    targets: Bool[Tensor, "batch labels"], counts: Int64[Tensor, " labels"]
) -> Int64[Tensor, "batch steps"]:
    """The labels of each image from the most to the least frequent one, then END.

    Args:
        targets: Which labels the image has.
        counts: Training images with each label; among equals the smaller column comes first.

    Returns:
        Label numbers, END = `labels`. There are as many steps as the largest label set has
        labels, and one more.

    Example:
        >>> import torch
        >>> targets = torch.tensor([[True, False, True], [False, True, False], [False] * 3])
        >>> label_sequences(targets, torch.tensor([5, 1, 9])).tolist()
        [[2, 0, 3], [1, 3, 3], [3, 3, 3]]
    """
    labels = targets.shape[1]
    order = counts.argsort(descending=True, stable=True)
    place = torch.arange(labels, device=targets.device).expand_as(targets)
    # Places of the image's own labels in ascending order, then the place past the last.
    sorted_places = place.masked_fill(~targets[:, order], labels).sort(1).values
    longest = int(targets.sum(1).max()) if len(targets) else 0
    ended = F.pad(sorted_places[:, :longest], (0, 1), value=labels)
    return F.pad(order, (0, 1), value=labels)[ended]


def already_emitted(
    sequences: Int64[Tensor, "batch steps"], labels: int
) -> Bool[Tensor, "batch steps outcomes"]:
    """Which of the labels + 1 outcomes came before each step; END never counts as emitted.

    Example:
        >>> import torch
        >>> already_emitted(torch.tensor([[1, 0, 2]]), 2).int().tolist()
        [[[0, 0, 0], [0, 1, 0], [1, 1, 0]]]
    """
    before = F.pad(sequences, (1, -1), value=labels)
    emitted = F.one_hot(before, labels + 1).cumsum(1) > 0
    return emitted & (torch.arange(labels + 1, device=sequences.device) < labels)


def sequence_nll(
    scores: Float[Tensor, "batch steps outcomes"],
    sequences: Int64[Tensor, "batch steps"],
    *,
    reduction: Literal["mean", "sum"],
) -> Float[Tensor, " batch"]:
    r"""Negative log-likelihood of each sequence, each step given the true ones before it.

    $$-\sum_{t=1}^{|y|+1} \log \frac{e^{s_t(l_t)}}{\sum_{l \notin \{l_1..l_{t-1}\}} e^{s_t(l)}}$$

    The sum below the line runs over END and the labels that have not been emitted, as it does
    while decoding, so no probability goes to a repetition.

    Args:
        scores: Of each label and, last, END, at each step.
        sequences: See `label_sequences`; everything after the first END is passed over.
        reduction: "sum": the sequence's own log-likelihood; "mean": divided by its |y| + 1
            steps.

    Returns:
        One value per image, in nats, 0 or more. An image without labels is the sequence END.

    Example:
        >>> import torch
        >>> scores = torch.zeros(1, 2, 4)  # three labels and END
        >>> sequence_nll(scores, torch.tensor([[2, 3]]), reduction="sum").exp().tolist()
        [12.0]
    """
    labels = scores.shape[2] - 1
    allowed = scores.masked_fill(already_emitted(sequences, labels), float("-inf"))
    each = -allowed.log_softmax(2).gather(2, sequences[..., None])[..., 0]
    ends = sequences == labels
    counts = (ends.cumsum(1) - ends.long()) == 0  # up to the first END, and that one too
    total = each.masked_fill(~counts, 0).sum(1)
    return total if reduction == "sum" else total / counts.sum(1).to(total.dtype)
