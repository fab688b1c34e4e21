"""What is common to methods that train the image net and a linear classifier by one loss."""

from abc import abstractmethod

from jaxtyping import Float
from torch import Tensor, nn

from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import (
    Method,
    StepContext,
    StepOutput,
    global_share,
    no_autocast,
    step_output,
)
from retdm.models import classifier_head


class Classifier(Method):
    """One logit a label, W f + b, under the loss that `classification` names."""

    def __init__(
        self, config: Config, image: nn.Module, labels: int, reading: dict[str, str]
    ) -> None:
        """Put a fresh classifier for `labels` labels on the image embedding net `image`."""
        parts = {"image": image, "classifier": classifier_head(config.model.embedding, labels)}
        super().__init__(parts, EMBEDDING | reading)

    @abstractmethod
    def each(
        self, logits: Float[Tensor, "rows labels"], batch: Batch, context: StepContext
    ) -> Float[Tensor, " rows"]:
        """The loss of each image of this rank, padding included; 0 or more."""

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`."""
        logits = self.logits(self.embed_batch(batch, context))
        with no_autocast(logits.device):
            share = global_share(self.each(logits, batch, context), batch)
        return step_output({self.classification: (1.0, share)}, {}, None)


EMBEDDING = {"embedding": "no activation after the last layer"}
"""The reading of the image net, common to all methods."""
