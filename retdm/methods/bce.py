"""Plain multi-label classification: image net, one sigmoid a label, binary cross-entropy.

RETDM's first stage, and the baseline that it is compared with.
"""

from collections.abc import Mapping
from typing import ClassVar

from torch import nn

from retdm import losses
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import Method, StepContext, StepOutput, global_share, step_output
from retdm.models import classifier_head


class Bce(Method):
    """Probabilities sigmoid(W f + b), eq. (9), trained by eq. (10)."""

    reach: ClassVar[Mapping[str, frozenset[str]]] = {
        "classification": frozenset({"image", "classifier"})
    }

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """Put a fresh classifier for `labels` labels on the image embedding net `image`."""
        super().__init__(
            {"image": image, "classifier": classifier_head(config.model.embedding, labels)},
            reading(config),
        )
        self.settings = config.loss

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; the batch is all that it depends on."""
        each = losses.bce(
            self.logits(self.embed(batch.images)),
            batch.targets,
            reduction=self.settings.bce_reduction,
        )
        return step_output({"bce": (1.0, global_share(each, batch))}, {}, None)


def reading(config: Config) -> dict[str, str]:
    """Names of what this branch leaves open."""
    return {
        "embedding": "no activation after the last layer",
        "bce": f"mean over images, {config.loss.bce_reduction} over labels",
    }
