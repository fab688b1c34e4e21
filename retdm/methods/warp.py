"""CNN-WARP (Gong et al., ICLR 2014): labels are ranked, wrong ones at the top cost most.

It ranks labels and has no threshold: nothing ties its scores to probabilities. Its protocol is
the top 3 (`top3.*` of the metrics); metrics that compare with a threshold mean little for it.
"""

from typing import ClassVar

import torch
from jaxtyping import Float, Int64
from torch import Tensor, nn

from retdm import losses
from retdm.bank import keyed
from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import StepContext
from retdm.methods.classifier import Classifier


class Warp(Classifier):
    """Scores sigmoid(W f + b), trained by `losses.warp`."""

    classification: ClassVar[str] = "warp"
    looks_at = frozenset({"warp"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """See `Classifier`; the `warp` settings are used."""
        self.rank = config.warp.rank
        found = {
            "exact": "the number of violating labels",
            "sampled": "floor((labels - 1) / s), s = draws until a label violates, "
            "none drawn twice, keyed by seed, step and image",
        }
        reading = {
            "warp": "weight L(r) = 1 + 1/2 + ... + 1/r on the sum over all absent labels, "
            "margin 1, mean over images, sum over labels",
            "rank": f"{self.rank}: {found[self.rank]}",
            "scores": "sigmoid of the raw score, for ranking only: read the top3 metrics",
        }
        super().__init__(config, image, labels, reading)

    def each(
        self, logits: Float[Tensor, "rows labels"], batch: Batch, context: StepContext
    ) -> Float[Tensor, " rows"]:
        """See `Classifier.each`; the sampled rank also depends on seed and step."""
        draws = draw(batch, context) if self.rank == "sampled" else None
        return losses.warp(logits, batch.targets, draws)


def draw(batch: Batch, context: StepContext) -> Int64[Tensor, "pairs labels"]:
    """Random words for each (image, present label) and label; the same on any number of ranks."""
    labels = batch.targets.shape[1]
    rows, columns = batch.targets.nonzero(as_tuple=True)
    pairs = batch.indices[rows] * labels + columns
    every = torch.arange(labels, device=pairs.device)
    base = keyed.key(context.seed, context.step, keyed.Draw.WARP_RANK)
    return keyed.fold(base, pairs[:, None], every)
