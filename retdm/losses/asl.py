"""Asymmetric loss for rare labels (Ridnik et al., ICCV 2021, arXiv 2009.14119)."""

from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F


def asl(
    logits: Float[Tensor, "batch labels"],
    targets: Bool[Tensor, "batch labels"],
    *,
    gamma_neg: float,
    gamma_pos: float,
    clip: float,
    reduction: Literal["mean", "sum"],
) -> Float[Tensor, " batch"]:
    r"""Cross-entropy that weighs down easy labels, absent ones more than present ones.

    With $p$ the sigmoid of the logit and $p_m = \max(p - m, 0)$, a label's loss is

    $$-(1 - p)^{\gamma_+} \log p \quad (present), \qquad
      -p_m^{\gamma_-} \log(1 - p_m) \quad (absent)$$

    The gradient is that of the whole formula, as the paper analyses it; the authors' code can
    treat the two powers as constants, and does so in its COCO recipe. Without focusing and
    clipping this is `bce`.

    Args:
        logits: Before the sigmoid; any size, the loss and its gradient stay finite.
        targets: Which labels the image has.
        gamma_neg: Focusing of absent labels, 0 or more.
        gamma_pos: Focusing of present labels, 0 or more.
        clip: The margin m, in [0, 1): absent labels with p <= m count nothing. It also bounds
            the loss of an absent label by -log m.
        reduction: Over labels. The authors sum.

    Returns:
        One value per image, 0 or more.

    Example:
        >>> import torch
        >>> sure = torch.tensor([[9.0, -9.0]])
        >>> set_here = torch.tensor([[True, False]])
        >>> options = dict(gamma_neg=4, gamma_pos=1, clip=0.05, reduction="sum")
        >>> round(asl(sure, set_here, **options).item(), 6)
        0.0
        >>> round(asl(sure, ~set_here, **options).item(), 2)  # 9 for the label it has missed
        11.44
    """
    # As powers of exponentials, since x**gamma has an infinite derivative at 0 for gamma < 1.
    present = (gamma_pos * F.logsigmoid(-logits)).exp() * F.logsigmoid(logits)
    p = logits.sigmoid()
    easy = p <= clip
    shifted = torch.where(easy, 0.5, p - clip)
    # 1 - (p - m) as (1 - p) + m: the difference can round to 0 where p is 1 and m is tiny.
    log_rest = (logits.neg().sigmoid() + clip).log() if clip else F.logsigmoid(-logits)
    absent = torch.where(easy, 0, shifted.pow(gamma_neg) * log_rest)
    each = -torch.where(targets, present, absent)
    return each.mean(1) if reduction == "mean" else each.sum(1)
