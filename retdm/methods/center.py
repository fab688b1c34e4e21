"""Centre loss (Wen et al., ECCV 2016) for several labels, which the paper compares with.

The loss is made for one class an image; the paper does not say what it did with several, so there
are two readings. `per_label_binary` is the default, because it fits what the paper shows (see
`PerLabelCenter`); `multi_hot` is the cheap one.

Centres are no parameters: after each step they move by the rule of the paper (`moved_centres`),
with sums and counts of the global batch, so they do not depend on the number of ranks. They start
at 0 and are buffers, so a checkpoint has them. The sums are taken in float64: their rounding is
then far below that of a float32 centre, whatever the order over ranks.
"""

from collections.abc import Mapping
from typing import ClassVar

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from retdm import comm, losses
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods import bce
from retdm.methods.base import (
    Method,
    StepContext,
    StepOutput,
    global_share,
    no_autocast,
    step_output,
)
from retdm.methods.classifier import EMBEDDING
from retdm.models import classifier_head

_MOVED = "from 0, moved once a step by the global batch's members, divided by 1 + their number"


class Centres(nn.Module):
    """Centres of groups of images, moved once a training step."""

    value: Tensor

    def __init__(self, *shape: int) -> None:
        """Start at 0; the last number of `shape` is the width of the features."""
        super().__init__()
        self.register_buffer("value", torch.zeros(*shape))

    @torch.no_grad()
    def move(
        self,
        features: Float[Tensor, "rows ... width"],
        members: Bool[Tensor, "rows ..."],
        valid: Bool[Tensor, " rows"],
        *,
        alpha: float,
    ) -> None:
        """Move towards this batch; every rank must call it.

        Args:
            features: One for each image, or one for each image and label.
            members: Which groups each image belongs to.
            valid: False for padding.
            alpha: The rate.
        """
        each = "lw" if features.dim() == 3 else "w"
        groups = "lb" if members.dim() == 3 else "l"
        mask = (members & valid.view(-1, *[1] * (members.dim() - 1))).double()
        sums = torch.einsum(f"n{groups},n{each}->{groups}w", mask, features.detach().double())
        told = comm.all_sum(torch.cat([sums, mask.sum(0)[..., None]], dim=-1))
        moved = losses.moved_centres(
            self.value.double(), told[..., :-1], told[..., -1], alpha=alpha
        )
        self.value.copy_(moved)


class MultiHotCenter(Method):
    """Reading `multi_hot`: BCE, and one centre a label for the image embedding.

    The classification loss is plain BCE, so the first stage can be shared; the centre loss goes
    by the role "metric" and comes in with stage 3. An image is pulled to the centres of all its
    labels at once: `losses.center_of_labels` says what that costs. Projections for each label
    would avoid it, but only if the classifier reads them, and so changes; that is the other
    reading.
    """

    reach: ClassVar[Mapping[str, frozenset[str]]] = {
        "classification": frozenset({"image", "classifier"}),
        "metric": frozenset({"image"}),
    }
    looks_at = frozenset({"center.reading", "center.weight", "center.alpha", "loss.bce_reduction"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """Put a fresh classifier and centres for `labels` labels on `image`."""
        width, settings = config.model.embedding, config.center
        reading = {
            "center": f"multi_hot: one centre a label, weight {settings.weight:g} on half the "
            "squared distance, mean over the labels of an image, mean over images, from the first "
            "stage with the metric loss on",
            "centres": f"{_MOVED}, alpha {settings.alpha:g}",
        }
        parts = {"image": image, "classifier": classifier_head(width, labels)}
        super().__init__(parts, bce.reading(config) | reading)
        self.centres = Centres(labels, width)
        self.settings = settings
        self.reduction = config.loss.bce_reduction

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; with the metric loss on, it also moves the centres."""
        terms: dict[str, tuple[float, Tensor]] = {}
        images, targets = self.embed_batch(batch, context), batch.targets
        with no_autocast(images.device):
            if "classification" in context.losses:
                each = losses.bce(self.logits(images), targets, reduction=self.reduction)
                terms["bce"] = (1.0, global_share(each, batch))
            if "metric" in context.losses:
                each = losses.center_of_labels(images, self.centres.value.clone(), targets)
                terms["center"] = (self.settings.weight, global_share(each, batch))
                self.centres.move(images, targets, batch.valid, alpha=self.settings.alpha)
        return step_output(terms, {}, None)


class PerLabelHeads(nn.Module):
    """For each label a feature z = P f + p, two logits on it, and two centres.

    Shapes: width = of a label's feature.
    """

    def __init__(self, embedding: int, labels: int, width: int) -> None:
        """Draw weights as for linear layers."""
        super().__init__()
        self.labels, self.width = labels, width
        self.project = nn.Linear(embedding, labels * width)
        bound = width**-0.5
        self.weight = nn.Parameter(torch.empty(labels, 2, width).uniform_(-bound, bound))
        self.bias = nn.Parameter(torch.zeros(labels, 2))
        self.centres = Centres(labels, 2, width)

    def features(self, embeddings: Float[Tensor, "rows embed"]) -> Tensor:
        """Z, of shape (rows, labels, width)."""
        projected: Tensor = self.project(embeddings)
        return projected.view(-1, self.labels, self.width)

    def pairs(
        self, features: Float[Tensor, "rows labels width"]
    ) -> Float[Tensor, "rows labels 2"]:
        """Logits of the classes absent and present."""
        return torch.einsum("nlw,lbw->nlb", features, self.weight) + self.bias

    def forward(self, embeddings: Float[Tensor, "rows embed"]) -> Float[Tensor, "rows labels"]:
        """Logit of presence: its sigmoid is the softmax over the two classes."""
        absent, present = self.pairs(self.features(embeddings)).unbind(-1)
        return present - absent


class PerLabelCenter(Method):
    """Reading `per_label_binary`: a two-class softmax with two centres for each label.

    That the paper skips COCO because of the cost of training, and that its rows of this method
    never show more than one label predicted, speak for one network of two classes for each label.
    Here the labels share the network up to the embedding and have a projection of their own
    after it, of `center.width` units, in which their centres lie: 80 networks would share
    nothing, each would choose its features, and stop, for its label alone, at 80 times the cost.
    What is kept is that no label's centres pull at another's.
    """

    classification: ClassVar[str] = "center"
    looks_at = frozenset({"center", "loss.bce_reduction"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """Put fresh heads for `labels` labels on `image`."""
        settings, self.reduction = config.center, config.loss.bce_reduction
        reading = {
            "center": f"per_label_binary: softmax over two classes and weight {settings.weight:g} "
            "on half the squared distance to the centre of the class, for each label, from the "
            f"first stage on; mean over images, {self.reduction} over labels",
            "networks": f"one for all labels, and a linear layer of {settings.width} units for "
            "each, on which softmax and centres stand",
            "centres": f"{_MOVED}, alpha {settings.alpha:g}",
        }
        heads = PerLabelHeads(config.model.embedding, labels, settings.width)
        super().__init__({"image": image, "classifier": heads}, EMBEDDING | reading)
        self.settings = settings

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; it also moves the centres."""
        heads = self.parts["classifier"]
        assert isinstance(heads, PerLabelHeads)
        images, targets = self.embed_batch(batch, context), batch.targets
        with no_autocast(images.device):
            features = heads.features(images)
            each = losses.center_of_classes(
                features,
                heads.pairs(features),
                heads.centres.value.clone(),
                targets,
                weight=self.settings.weight,
            )
            each = each.mean(1) if self.reduction == "mean" else each.sum(1)
            classes = torch.stack([~targets, targets], dim=-1)
            heads.centres.move(features, classes, batch.valid, alpha=self.settings.alpha)
        return step_output({"center": (1.0, global_share(each, batch))}, {}, None)


def make_center(config: Config, image: nn.Module, labels: int) -> Method:
    """The method in the reading that `center.reading` names."""
    kinds = {"per_label_binary": PerLabelCenter, "multi_hot": MultiHotCenter}
    return kinds[config.center.reading](config, image, labels)
