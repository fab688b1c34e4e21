"""CNN-Softmax (Gong et al., ICLR 2014): the labels of an image share one softmax.

It ranks labels and has no threshold: the probabilities of an image sum to 1, so only one of them
can exceed 0.5. Its protocol is the top 3 (`top3.*` of the metrics); metrics that compare with a
threshold mean little for it.
"""

from typing import ClassVar

from jaxtyping import Float
from torch import Tensor, nn

from retdm import losses
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import StepContext
from retdm.methods.classifier import Classifier


class Softmax(Classifier):
    """Scores softmax(W f + b), trained by `losses.softmax`."""

    classification: ClassVar[str] = "softmax"

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """See `Classifier`."""
        reading = {
            "softmax": "target y/|y|, mean over all images; those without a label count 0",
            "scores": "softmax probabilities, for ranking only: read the top3 metrics",
        }
        super().__init__(config, image, labels, reading)

    def each(
        self, logits: Float[Tensor, "rows labels"], batch: Batch, context: StepContext
    ) -> Float[Tensor, " rows"]:
        """See `Classifier.each`; the batch is all that it depends on."""
        return losses.softmax(logits, batch.targets)

    def probabilities(self, logits: Float[Tensor, "rows labels"]) -> Float[Tensor, "rows labels"]:
        """Of one draw from the image's labels; each row sums to 1."""
        return logits.softmax(1)
