"""Which neighbours the ways of RETDM compare each anchor with.

Shapes: rows = anchors of this rank, k = neighbours. Every function returns numbers and which of
them are real; where there are too few neighbours the rest is False and counts for nothing.
"""

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retdm import losses
from retdm.bank import draw_columns, nearest_images, nearest_instances, nearest_label_sets
from retdm.config import LossSettings
from retdm.methods.base import StepContext
from retdm.methods.candidates import Candidates

Chosen = tuple[Int64[Tensor, "rows k"], Bool[Tensor, "rows k"]]


@torch.no_grad()
def near_by_labels(
    samples: Int64[Tensor, " rows"],
    candidates: Candidates,
    context: StepContext,
    settings: LossSettings,
    *,
    images: bool,
) -> tuple[Chosen, Chosen | None]:
    """Neighbours in label space: label sets for way 1, columns of `candidates` for way 2.

    Args:
        samples: The anchors, as rows of the training table.
        candidates: Images of the global batch and the bank.
        context: Of the step: label sets, and the seed and step that order ties.
        settings: `k`, `neighbours` and `neighbour_unit` are used.
        images: Whether way 2 is wanted; None stands for it otherwise.
    """
    known = context.label_sets
    own, everywhere = known.set_id[samples], settings.neighbours == "exact"
    k, seed, step = settings.k, context.seed, context.step
    if settings.neighbour_unit == "unique":
        searched = None if everywhere else candidates.set_ids
        sets, real = nearest_label_sets(own, known, searched, k=k, seed=seed, step=step)
        if not images:
            return (sets, real), None
        drawn = draw_columns(sets, real, candidates.set_ids, samples, seed=seed, step=step)
        return (sets, real), drawn
    at_hand = None
    if images or not everywhere:
        at_hand = nearest_instances(own, known, candidates.set_ids, k=k, seed=seed, step=step)
    if everywhere:
        rows, real = nearest_instances(own, known, known.set_id, k=k, seed=seed, step=step)
        return (known.set_id[rows], real), at_hand
    assert at_hand is not None
    columns, real = at_hand
    return (set_numbers(candidates, columns), real), at_hand


@torch.no_grad()
def near_by_embedding(
    embeddings: Float[Tensor, "rows embed"],
    samples: Int64[Tensor, " rows"],
    candidates: Candidates,
    context: StepContext,
    settings: LossSettings,
) -> Chosen:
    """Columns of the neighbours of ways 3 and 4, by the distance of the reading."""
    images, others = embeddings.detach(), candidates.constants()
    if settings.score == "unit_sq_tau":
        images, others = losses.unit(images), losses.unit(others)
    own = context.label_sets.set_id[samples]
    return nearest_images(images, own, others, candidates.set_ids, k=settings.k)


def set_numbers(candidates: Candidates, columns: Int64[Tensor, "rows k"]) -> Tensor:
    """Label sets of the columns, which may point to padding where a neighbour is missing."""
    return candidates.set_ids[columns].clamp(min=0)
