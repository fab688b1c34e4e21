"""RETDM: two-way deep metric learning with reconstruction, its one-way ablation, and four ways.

The objective is L = L_c + lambda1 * L_d + lambda2 * L_r (13), with L_d = L_1 + gamma * L_2 (8).
Way 1 pulls an image to its own label set and pushes it from neighbouring ones, which are
embedded anew, with gradient. Way 2 pulls a label set to its own image and pushes it from
images of neighbouring sets, which come from the global batch (with gradient, also across
ranks) and from the bank (constants).

Four ways are what the paper leaves to future work: neighbours in input space as well. For the k
images j of other label sets that are nearest to image i (`near_by_embedding`), way 3 wants
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
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods import bce
from retdm.methods.base import (
    Diagnosis,
    Method,
    StepContext,
    StepOutput,
    full_precision,
    global_share,
    no_autocast,
    step_output,
)
from retdm.methods.candidates import Candidates, gather_candidates
from retdm.methods.effective_rank import effective_rank
from retdm.methods.retdm_neighbours import near_by_embedding, near_by_labels, set_numbers
from retdm.methods.retdm_reading import looks_at, reading
from retdm.models import LabelEmbeddingNet, classifier_head, reconstruction_head

_DIAGNOSED = 1024
"""Images looked at in a diagnosis: enough for shares and ranks, and searched in a moment."""


@dataclass(frozen=True, slots=True)
class _Anchors:
    """Images with their own label sets, and what the ways compare them with."""

    images: Float[Tensor, "rows embed"]
    label: Float[Tensor, "rows embed"]
    samples: Int64[Tensor, " rows"]
    candidates: Candidates


@dataclass(frozen=True, slots=True)
class _Neighbours:
    """The neighbours of each anchor in one way."""

    distance: Float[Tensor, "rows k"]
    real: Bool[Tensor, "rows k"]


class Retdm(Method):
    """Image net, classifier, label net and reconstruction head under one objective."""

    reach: ClassVar[Mapping[str, frozenset[str]]] = {
        "classification": frozenset({"image", "classifier"}),
        "metric": frozenset({"image", "label"}),
        "reconstruction": frozenset({"label", "reconstruction"}),
    }
    uses_bank: ClassVar[bool] = True

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
        self.looks_at = looks_at(config.loss, ways=ways)

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; the rows for the bank come with the metric loss."""
        settings, active = self.settings, context.losses
        terms: dict[str, tuple[float, Tensor]] = {}
        extra: dict[str, Tensor] = {}
        rows = None
        images = self.embed_batch(batch, context)
        with no_autocast(images.device):
            if "classification" in active:
                each = losses.bce(
                    self.logits(images), batch.targets, reduction=settings.bce_reduction
                )
                terms["bce"] = (1.0, global_share(each, batch))
            if active & {"metric", "reconstruction"}:
                label = self._label(batch.targets)
            if "metric" in active:
                anchors = self._anchors(images, label, batch, context)
                extra = self._ways(anchors, batch, context)
                terms["metric"] = (settings.lambda1, self._joint(extra))
                rows = anchors.candidates.batch_rows()
            if "reconstruction" in active:
                decoded = self.parts["reconstruction"](label)
                each = losses.reconstruction(decoded, batch.targets)
                terms["reconstruction"] = (settings.lambda2, global_share(each, batch))
        return step_output(terms, extra, rows)

    def _label(self, targets: Bool[Tensor, "... labels"]) -> Float[Tensor, "... embed"]:
        return full_precision(self.parts["label"](targets))

    def _anchors(
        self, images: Tensor, label: Tensor, batch: Batch, context: StepContext
    ) -> _Anchors:
        bank = None
        if context.bank is not None and context.use_bank and self.settings.neighbours != "batch":
            bank = context.bank.view(context.step)
        with context.clock.part("gather"):
            candidates = gather_candidates(
                images,
                batch.indices.where(batch.valid, -1),
                context.label_sets,
                bank,
                with_gradient=self.ways > 1,
            )
        return _Anchors(images, label, batch.indices, candidates)

    def _ways(self, anchors: _Anchors, batch: Batch, context: StepContext) -> dict[str, Tensor]:
        """This rank's shares of each L and of what is reported about them."""
        settings = self.settings
        own = losses.pair_distance(anchors.images, anchors.label, settings)
        near = self._near(anchors, context)
        ways = {
            name: losses.way(own, others.distance, others.real, settings)
            for name, others in near.items()
        }
        violations = torch.stack([way.violations for way in ways.values()]).mean(0)
        found = near["way1"].real.sum(1).to(own.dtype)
        return {name: global_share(way.loss, batch) for name, way in ways.items()} | {
            "violations": global_share(violations, batch),
            "neighbours": global_share(found, batch),
        }

    def _near(self, anchors: _Anchors, context: StepContext) -> dict[str, _Neighbours]:
        """By way, the neighbours of each anchor."""
        known, candidates = context.label_sets, anchors.candidates

        def other_sets(sets: Tensor, real: Tensor) -> _Neighbours:
            other = self._label(known.targets[sets])
            images = anchors.images[:, None]
            return _Neighbours(losses.pair_distance(images, other, self.settings), real)

        def other_images(columns: Tensor, real: Tensor) -> _Neighbours:
            other, label = candidates.pick(columns), anchors.label[:, None]
            return _Neighbours(losses.pair_distance(other, label, self.settings), real)

        samples, settings = anchors.samples, self.settings
        with context.clock.part("mining"):
            sets, drawn = near_by_labels(
                samples, candidates, context, settings, images=self.ways > 1
            )
        near = {"way1": other_sets(*sets)}
        if drawn is not None:
            near["way2"] = other_images(*drawn)
        if self.ways == 4:
            with context.clock.part("mining"):
                columns, real = near_by_embedding(
                    anchors.images, samples, candidates, context, settings
                )
            near["way3"] = other_sets(set_numbers(candidates, columns), real)
            near["way4"] = other_images(columns, real)
        return near

    def _joint(self, shares: Mapping[str, Tensor]) -> Tensor:
        """L_d, eq. (8), or with four ways the mean of two of its kind."""
        gamma = self.settings.gamma
        first = shares["way1"] + gamma * shares["way2"] if self.ways > 1 else shares["way1"]
        if self.ways < 4:
            return first
        return (first + shares["way3"] + gamma * shares["way4"]) / 2

    @torch.no_grad()
    def diagnose(self, context: StepContext) -> Diagnosis | None:
        """Distances, violated constraints, rank and length of what the bank holds.

        Anchors are the bank's newest images, as they were when their steps embedded them; label
        sets are embedded anew. The neighbours are sought among the same rows, of any age, so that
        the violations are an estimate of those that the loss sees, staleness included.
        """
        if context.bank is None or not len(context.bank):
            return None
        images, set_ids, samples = context.bank.newest(_DIAGNOSED)
        label = self._label(context.label_sets.targets[set_ids])
        images = images.to(label.dtype)
        anchors = _Anchors(images, label, samples, Candidates(images, None, set_ids, samples))
        own = losses.pair_distance(images, label, self.settings)
        histograms, values = {"distance_own": own}, {}
        for name, others in self._near(anchors, context).items():
            histograms[f"distance_{name}"] = others.distance[others.real]
            each = losses.way(own, others.distance, others.real, self.settings)
            values[f"violations_{name}"] = each.violations.mean().item()
        for name, embeddings in (("image", images), ("label", label)):
            histograms[f"norm_{name}"] = embeddings.norm(dim=1)
            values[f"rank_{name}"] = effective_rank(embeddings)
        drift = context.bank.take_drift()
        if drift.images:
            values |= {"bank_drift": drift.distance, "bank_age": drift.age}
        return Diagnosis(values, histograms)
