"""RETDM: two-way deep metric learning with reconstruction, and its one-way ablation.

The objective is L = L_c + lambda1 * L_d + lambda2 * L_r (13), with L_d = L_1 + gamma * L_2 (8).
Way 1 pulls an image to its own label set and pushes it from neighbouring ones, which are
embedded anew, with gradient. Way 2 pulls a label set to its own image and pushes it from
images of neighbouring sets, which come from the global batch (with gradient, also across
ranks) and from the bank (constants).

Shapes: rows = images of this rank, k = neighbours, embed = embedding width.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from retdm import losses
from retdm.bank import draw_columns, nearest_label_sets
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
    """Whom each anchor is compared with."""

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
        self, config: Config, image: nn.Module, labels: int, *, two_way: bool = True
    ) -> None:
        """Put fresh label parts and heads beside the image embedding net `image`.

        Args:
            config: The `loss` and `model.embedding` settings are used.
            image: From uint8 images to embeddings.
            labels: Number of labels.
            two_way: False leaves way 2 out: the paper's one-way ablation.
        """
        width = config.model.embedding
        parts = {
            "image": image,
            "classifier": classifier_head(width, labels),
            "label": LabelEmbeddingNet(labels, width),
            "reconstruction": reconstruction_head(width, labels),
        }
        super().__init__(parts, bce.reading(config) | reading(config.loss, two_way=two_way))
        self.settings = config.loss
        self.two_way = two_way

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
                metric = extra["way1"] + settings.gamma * extra.get("way2", 0)
                terms["metric"] = (settings.lambda1, metric)
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
        return gather_candidates(images, set_ids, bank, with_gradient=self.two_way)

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
        """This rank's shares of L_1 and L_2 and of what is reported about them."""
        settings = self.settings
        own = losses.pair_distance(images, label, settings)
        near_labels = self._label(context.label_sets.targets[near.sets])
        other = losses.pair_distance(images[:, None], near_labels, settings)
        first = losses.way(own, other, near.has_set, settings)
        shares = {"way1": global_share(first.loss, batch)}
        violations = first.violations
        if self.two_way:
            near_images = candidates.pick(near.columns)
            other = losses.pair_distance(near_images, label[:, None], settings)
            second = losses.way(own, other, near.has_image, settings)
            shares["way2"] = global_share(second.loss, batch)
            violations = (first.violations + second.violations) / 2
        found = near.has_set.sum(1).to(own.dtype)
        return shares | {
            "violations": global_share(violations, batch),
            "neighbours": global_share(found, batch),
        }


def reading(settings: LossSettings, *, two_way: bool) -> dict[str, str]:
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
    return {
        "ways": "two" if two_way else "one",
        "score": settings.score + tau,
        "penalty": penalty,
        "neighbours": f"{settings.k} distinct label sets by Hamming distance, own one excluded, "
        f"ties in seeded random order, candidates={settings.neighbours}",
        **(second if two_way else {}),
        "label net": "FC, ReLU, FC on 0/1 labels",
        "reconstruction": "linear output, squared error, mean over labels",
    }
