"""Plain multi-label classification: image net, one sigmoid a label, binary cross-entropy.

RETDM's first stage, and the baseline that it is compared with.
"""

from jaxtyping import Float
from torch import Tensor, nn

from retdm import losses
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import StepContext
from retdm.methods.classifier import EMBEDDING, Classifier


class Bce(Classifier):
    """Probabilities sigmoid(W f + b), eq. (9), trained by eq. (10)."""

    looks_at = frozenset({"loss.bce_reduction"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """See `Classifier`; `loss.bce_reduction` is used."""
        super().__init__(config, image, labels, reading(config))
        self.reduction = config.loss.bce_reduction

    def each(
        self, logits: Float[Tensor, "rows labels"], batch: Batch, context: StepContext
    ) -> Float[Tensor, " rows"]:
        """See `Classifier.each`; the batch is all that it depends on."""
        return losses.bce(logits, batch.targets, reduction=self.reduction)


def reading(config: Config) -> dict[str, str]:
    """Names of what this branch leaves open."""
    return EMBEDDING | {"bce": f"mean over images, {config.loss.bce_reduction} over labels"}
