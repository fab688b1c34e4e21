"""The two ways of the metric loss, eqs. (4)-(7), in every named reading.

Shapes: batch = anchors, k = neighbours of each, embed = embedding width.

Both ways have one form, with own = d(f, g). Way 1 compares an image with label sets: other =
d(f, g^j). Way 2 compares a label set with images: other = d(f^j, g). The loss wants `own` to be
the smallest: a softmax over the scores of the 1 + k candidates, negative log-probability of the
own one, and a penalty on each violated constraint own < other. The paper's formulas (5)-(7) did
not survive; `LossSettings.score` and `LossSettings.penalty` name the readings.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn import functional as F

from retdm.config import LossSettings
from retdm.losses.distance import euclidean, squared, unit


@dataclass(frozen=True, slots=True)
class Way:
    """One way's value for each anchor."""

    loss: Float[Tensor, " batch"]
    """Negative log-probability plus penalty, 0 or more; 0 for an anchor without neighbours."""
    violations: Float[Tensor, " batch"]
    """Share of the anchor's constraints own < other that do not hold, in [0, 1]; 0 without any."""


def pair_distance(
    a: Float[Tensor, "... embed"], b: Float[Tensor, "... embed"], settings: LossSettings
) -> Float[Tensor, "..."]:
    """The distance that the reading `loss.score` is about; penalties compare it too.

    `neg_dist`, `neg_dist_tau`, `inv`: Euclidean. `neg_sq_dist`: its square. `unit_sq_tau`: the
    square between the two directions, in [0, 4].
    """
    match settings.score:
        case "neg_dist" | "neg_dist_tau" | "inv":
            return euclidean(a, b)
        case "neg_sq_dist":
            return squared(a, b)
        case "unit_sq_tau":
            return squared(unit(a), unit(b))


def similarity(distance: Float[Tensor, "..."], settings: LossSettings) -> Float[Tensor, "..."]:
    """The score s of eq. (5): what the softmax sees; larger is more alike."""
    match settings.score:
        case "neg_dist" | "neg_sq_dist":
            return -distance
        case "neg_dist_tau" | "unit_sq_tau":
            return -distance / settings.tau
        case "inv":
            return 1 / (1 + distance)


def way(
    own: Float[Tensor, " batch"],
    other: Float[Tensor, "batch k"],
    mask: Bool[Tensor, "batch k"],
    settings: LossSettings,
) -> Way:
    r"""One way's loss for each anchor, eq. (6) or (7).

    $$-\log \frac{e^{s(own)}}{e^{s(own)} + \sum_j e^{s(other_j)}} + penalty(own, other)$$

    with the penalty, where $[x]_+ = \max(0, x)$, by name: `nll` none; `nll_plus_hinge`
    $\sum_j [own - other_j]_+$; `nll_plus_hinge_margin` $\sum_j [m + own - other_j]_+$;
    `nll_plus_softplus` $\sum_j \log(1 + e^{own - other_j})$; `nll_weighted` multiplies the
    log-probability by 1 + the number of violations instead. `penalty_reduction = "mean"` divides
    the sums by the number of neighbours.

    Args:
        own: `pair_distance` between each image and its own label set.
        other: `pair_distance` between each anchor and its neighbours.
        mask: True where there is a neighbour; False entries count for nothing.
        settings: Names the reading.

    Example:
        >>> own, other = torch.tensor([1.0]), torch.tensor([[1.0, 0.5, 9.0]])
        >>> mask = torch.tensor([[True, False, True]])
        >>> settings = LossSettings(score="neg_dist", penalty="nll_plus_hinge_margin", margin=2)
        >>> found = way(own, other, mask, settings)
        >>> round(found.loss.item(), 4)  # log(1 + 1 + e^-8), and 2 for the tie
        2.6933
        >>> found.violations.tolist()  # the tie, of two neighbours
        [0.5]
    """
    score_other = similarity(other, settings).masked_fill(~mask, float("-inf"))
    scores = torch.cat([similarity(own, settings)[:, None], score_other], dim=1)
    # With all neighbours masked this is log(1): a loss of exactly 0 with gradient 0.
    nll = -scores.log_softmax(1)[:, 0]
    # A tie violates too: the paper penalises d(f, g) >= d(f, g^j).
    violated = ((own[:, None] >= other) & mask).sum(1).to(own.dtype)
    count = mask.sum(1).clamp(min=1).to(own.dtype)
    gap = own[:, None] - other
    match settings.penalty:
        case "nll":
            loss = nll
        case "nll_plus_hinge":
            loss = nll + _over_neighbours(gap.relu(), mask, count, settings)
        case "nll_plus_hinge_margin":
            loss = nll + _over_neighbours((settings.margin + gap).relu(), mask, count, settings)
        case "nll_plus_softplus":
            loss = nll + _over_neighbours(F.softplus(gap), mask, count, settings)
        case "nll_weighted":
            loss = (1 + violated) * nll
    return Way(loss=loss, violations=violated / count)


def _over_neighbours(
    penalties: Tensor, mask: Tensor, count: Tensor, settings: LossSettings
) -> Tensor:
    total = penalties.masked_fill(~mask, 0).sum(1)
    return total if settings.penalty_reduction == "sum" else total / count
