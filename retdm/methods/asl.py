"""Asymmetric loss: the classification loss of later multi-label work, on the same image net."""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from retdm import losses
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import StepContext
from retdm.methods.classifier import Classifier


class Asl(Classifier):
    """Probabilities sigmoid(W f + b), trained by `losses.asl`."""

    classification: ClassVar[str] = "asl"
    looks_at = frozenset({"asl", "loss.bce_reduction"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """See `Classifier`; the `asl` settings and `loss.bce_reduction` are used."""
        self.reduction, settings = config.loss.bce_reduction, config.asl
        reading = {
            "asl": f"gamma_neg {settings.gamma_neg:g}, gamma_pos {settings.gamma_pos:g}, "
            f"clip {settings.clip:g}, gradient through the focusing weights, "
            f"mean over images, {self.reduction} over labels (its authors sum over both)"
        }
        super().__init__(config, image, labels, reading)
        self.settings = settings

    def each(
        self, logits: Float[Tensor, "rows labels"], batch: Batch, context: StepContext
    ) -> Float[Tensor, " rows"]:
        """See `Classifier.each`; the batch is all that it depends on."""
        return losses.asl(
            logits,
            batch.targets,
            gamma_neg=self.settings.gamma_neg,
            gamma_pos=self.settings.gamma_pos,
            clip=self.settings.clip,
            reduction=self.reduction,
        )
