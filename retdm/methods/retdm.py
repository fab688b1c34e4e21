"""RETDM: two-way deep metric learning with reconstruction, its one-way ablation, and four ways.

The objective is L = L_c + lambda1 * L_d + lambda2 * L_r (13), with L_d = L_1 + gamma * L_2 (8).
Way 1 pulls an image to its own label set and pushes it from neighbouring ones, which are
embedded anew, with gradient. Way 2 pulls a label set to its own image and pushes it from
images of neighbouring sets, which come from the global batch (with gradient, also across
ranks) and from the bank (constants).

Four ways are what the paper leaves to future work: neighbours in input space as well. For the k
images j of other label sets that are nearest to image i (`nearest_images`), way 3 wants
d(f_i, g_i) < d(f_i, g(y_j)) and way 4 wants d(f_i, g_i) < d(f_j, g_i): the forms of ways 1
and 2, with neighbours chosen by what the net confuses instead of by what the labels share. Here
L_d = ((L_1 + gamma * L_2) + (L_3 + gamma * L_4)) / 2. Each L has a softmax over 1 + k candidates
and k penalties, so the two pairs are of one size; their mean keeps L_d at the size it has with
two ways, and lambda1 means the same for both. Adding the pairs up would double it, and a
comparison would then mix the new constraints with a larger weight of the old ones.

Shapes: rows = images of this rank, k = neighbours, embed = embedding width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from retdm import losses
from retdm.bank import draw_columns, nearest_images, nearest_label_sets
from retdm.config import Config, LossSettings
from retdm.data.batch import Batch
from retdm.methods import bce
from retdm.methods.base import (
    Method,
    StepContext,
    StepOutput,
    full_precision,
    global_share,
    no_autocast,
    step_output,
)
from retdm.methods.candidates import Candidates, gather_candidates
from retdm.models import LabelEmbeddingNet, classifier_head, reconstruction_head


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """Whom each anchor is compared with in ways 1 and 2."""

    sets: Int64[Tensor, "rows k"]
    has_set: Bool[Tensor, "rows k"]
    columns: Int64[Tensor, "rows k"]
    has_image: Bool[Tensor, "rows k"]


class Retdm(Method):
    """Image net, classifier, label net and reconstruction head under one objective."""

    reach: ClassVar[Mapping[str, frozenset[str]]] = {
        "classification": frozenset({"image", "classifier"}),
        "metric": frozenset({"image", "label"}),
        "reconstruction": frozenset({"label", "reconstruction"}),
    }

    def __init__(
        self, config: Config, image: nn.Module, labels: int, *, ways: Literal[1, 2, 4] = 2
    ) -> None:
        """Put fresh label parts and heads beside the image embedding net `image`.

        Args:
            config: The `loss` and `model.embedding` settings are used.
            image: From uint8 images to embeddings.
            labels: Number of labels.
            ways: 1 leaves way 2 out, the paper's ablation; 4 adds image neighbours.
        """
        width = config.model.embedding
        parts = {
            "image": image,
            "classifier": classifier_head(width, labels),
            "label": LabelEmbeddingNet(labels, width),
            "reconstruction": reconstruction_head(width, labels),
        }
        super().__init__(parts, bce.reading(config) | reading(config.loss, ways=ways))
        self.settings = config.loss
        self.ways = ways

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; the rows for the bank come with the metric loss."""
        settings, active = self.settings, context.losses
        terms: dict[str, tuple[float, Tensor]] = {}
        extra: dict[str, Tensor] = {}
        rows = None
        images = self.embed(batch.images)
        with no_autocast(images.device):
            if "classification" in active:
                each = losses.bce(
                    self.logits(images), batch.targets, reduction=settings.bce_reduction
                )
                terms["bce"] = (1.0, global_share(each, batch))
            if active & {"metric", "reconstruction"}:
                label = self._label(batch.targets)
            if "metric" in active:
                candidates = self._candidates(images, batch, context)
                near = self._neighbours(candidates, batch, context)
                extra = self._ways(images, label, candidates, near, batch, context)
                terms["metric"] = (settings.lambda1, self._joint(extra))
                rows = candidates.batch_rows()
            if "reconstruction" in active:
                decoded = self.parts["reconstruction"](label)
                each = losses.reconstruction(decoded, batch.targets)
                terms["reconstruction"] = (settings.lambda2, global_share(each, batch))
        return step_output(terms, extra, rows)

    def _label(self, targets: Bool[Tensor, "... labels"]) -> Float[Tensor, "... embed"]:
        return full_precision(self.parts["label"](targets))

    def _candidates(self, images: Tensor, batch: Batch, context: StepContext) -> Candidates:
        set_ids = context.label_sets.set_id[batch.indices].where(batch.valid, -1)
        bank = None
        if context.bank is not None and context.use_bank and self.settings.neighbours != "batch":
            bank = context.bank.view(context.step)
        return gather_candidates(images, set_ids, bank, with_gradient=self.ways > 1)

    @torch.no_grad()
    def _neighbours(
        self, candidates: Candidates, batch: Batch, context: StepContext
    ) -> _Neighbours:
        known, names = context.label_sets, {"seed": context.seed, "step": context.step}
        everywhere = self.settings.neighbours == "exact"
        sets, has_set = nearest_label_sets(
            known.set_id[batch.indices],
            known,
            None if everywhere else candidates.present(len(known)),
            k=self.settings.k,
            **names,
        )
        columns, has_image = draw_columns(
            sets, has_set, candidates.set_ids, batch.indices, **names
        )
        return _Neighbours(sets, has_set, columns, has_image)

    def _ways(
        self,
        images: Tensor,
        label: Tensor,
        candidates: Candidates,
        near: _Neighbours,
        batch: Batch,
        context: StepContext,
    ) -> dict[str, Tensor]:
        """This rank's shares of each L and of what is reported about them."""
        settings, known = self.settings, context.label_sets
        own = losses.pair_distance(images, label, settings)

        def against_sets(sets: Tensor, real: Tensor) -> losses.Way:
            other = self._label(known.targets[sets])
            return losses.way(
                own, losses.pair_distance(images[:, None], other, settings), real, settings
            )

        def against_images(columns: Tensor, real: Tensor) -> losses.Way:
            other = candidates.pick(columns)
            return losses.way(
                own, losses.pair_distance(other, label[:, None], settings), real, settings
            )

        ways = {"way1": against_sets(near.sets, near.has_set)}
        if self.ways > 1:
            ways["way2"] = against_images(near.columns, near.has_image)
        if self.ways == 4:
            columns, real = self._near_images(images, candidates, batch, context)
            # Column 0 stands for a missing neighbour, and may itself be padding, of set -1.
            ways["way3"] = against_sets(candidates.set_ids[columns].clamp(min=0), real)
            ways["way4"] = against_images(columns, real)
        violations = torch.stack([way.violations for way in ways.values()]).mean(0)
        found = near.has_set.sum(1).to(own.dtype)
        return {name: global_share(way.loss, batch) for name, way in ways.items()} | {
            "violations": global_share(violations, batch),
            "neighbours": global_share(found, batch),
        }

    def _near_images(
        self, images: Tensor, candidates: Candidates, batch: Batch, context: StepContext
    ) -> tuple[Tensor, Tensor]:
        """Columns of the neighbours of ways 3 and 4, by the distance of the reading."""
        anchors, others = images.detach(), candidates.constants()
        if self.settings.score == "unit_sq_tau":
            anchors, others = losses.unit(anchors), losses.unit(others)
        own_sets = context.label_sets.set_id[batch.indices]
        return nearest_images(anchors, own_sets, others, candidates.set_ids, k=self.settings.k)

    def _joint(self, shares: Mapping[str, Tensor]) -> Tensor:
        """L_d, eq. (8), or with four ways the mean of two of its kind."""
        gamma = self.settings.gamma
        first = shares["way1"] + gamma * shares["way2"] if self.ways > 1 else shares["way1"]
        if self.ways < 4:
            return first
        return (first + shares["way3"] + gamma * shares["way4"]) / 2


def reading(settings: LossSettings, *, ways: Literal[1, 2, 4]) -> dict[str, str]:
    """Names of the readings that the metric and reconstruction losses take."""
    penalty = {
        "nll": "nll",
        "nll_weighted": "nll_weighted",
        "nll_plus_hinge_margin": f"nll_plus_hinge_margin, margin {settings.margin:g}",
    }.get(settings.penalty, settings.penalty)
    if settings.penalty not in ("nll", "nll_weighted"):
        penalty += f", {settings.penalty_reduction} over neighbours"
    tau = f", tau {settings.tau:g}" if settings.score.endswith("_tau") else ""
    second = {
        "image of a label set": "one drawn for each anchor and step, from "
        + ("the batch" if settings.neighbours == "batch" else "batch and bank"),
        "gamma": f"{settings.gamma:g}",
    }
    space = "directions" if settings.score == "unit_sq_tau" else "embeddings"
    four = {
        "image neighbours": f"{settings.k} nearest images of other label sets by Euclidean "
        f"distance between {space}, label sets may repeat, candidates=batch"
        + ("" if settings.neighbours == "batch" else " and bank"),
        "metric loss": "((L_1 + gamma L_2) + (L_3 + gamma L_4)) / 2",
    }
    return {
        "ways": {1: "one", 2: "two", 4: "four"}[ways],
        "score": settings.score + tau,
        "penalty": penalty,
        "neighbours": f"{settings.k} distinct label sets by Hamming distance, own one excluded, "
        f"ties in seeded random order, candidates={settings.neighbours}",
        **(second if ways > 1 else {}),
        **(four if ways == 4 else {}),
        "label net": "FC, ReLU, FC on 0/1 labels",
        "reconstruction": "linear output, squared error, mean over labels",
    }
