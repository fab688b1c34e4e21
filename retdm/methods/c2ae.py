r"""C2AE: images and label sets meet in a latent space from which the labels are decoded.

Yeh, Wu, Ko & Wang, "Learning Deep Latent Spaces for Multi-Label Classification", AAAI 2017
(arXiv 1707.00418); the authors' code is chihkuanyeh/C2AE. The objective for a global batch is

$$w \left[ \frac{1}{n} \sum_i \frac{1}{K} \lVert F_x(x_i) - F_e(y_i) \rVert^2
  + \lambda \, (O(F_x) + O(F_e)) \right]
  + \alpha \frac{1}{n} \sum_i \gamma(F_d(F_e(y_i)), y_i), \qquad w = 2 \sqrt{K}$$

with the terms `losses.latent_distance`, `losses.orthogonality` and `losses.pairwise_exponential`;
an image is scored by the sigmoid of F_d(F_x(x)).

Where the authors' code is peculiar, and what is done here:

* It divides the ranking gradient by its alpha = 2, so that 1/2 is its weight in a sum over the
  batch. `c2ae.alpha` multiplies a mean.
* It has a factor 5 in the exponent, which its gradient leaves out: `c2ae.sharpness`.
* It sums over the batch, in the constraint too, where that makes the latents shrink as the batch
  grows. Here all is a mean over the batch and over the K latent units. Latents are
  sigmoid(z) - 0.5 as there; their mean square is to be 1/16, well inside that range, where the
  authors' becomes 1 / batch. This is their distance and constraint, both times 1 / 16 K; their
  ranking loss would have the weight batch / 32 K beside them, against alpha / w here.
* Its own optimizer, with gradients divided by their running size, and its weight decay are not
  copied; all methods of the comparison share one. The scale w is there for that: under plain
  gradient descent with a rate of 0.1, on toy sets of 5, 24 and 80 labels, constants that train
  many labels diverge for few, or the reverse.
* It keeps the ranking gradient out of F_x. So does the equation, in which the ranking loss is one
  of F_d(F_e(y)): F_x learns from the distance and its constraint alone.
* It has a second decoder, fed with F_x(x), that is trained and never used: left out.

A ranking loss leaves the level of the scores open: at a threshold, expect recall above precision.
"""

import math
from typing import ClassVar

import torch
from jaxtyping import Float
from torch import Tensor, nn

from retdm import comm, losses
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
from retdm.methods.classifier import EMBEDDING
from retdm.models.autoencoder import CorrelatedAutoencoder

_MEAN_SQUARE = 1 / 16
"""Of each latent, which is below 1/4 in any case."""


class C2ae(Method):
    """Image net and autoencoder, trained jointly."""

    classification: ClassVar[str] = "c2ae"
    looks_at = frozenset({"c2ae"})

    def __init__(self, config: Config, image: nn.Module, labels: int) -> None:
        """Put a fresh autoencoder on `image`; the `c2ae` settings are used."""
        settings = config.c2ae
        latent = max(1, round(settings.latent_share * labels))
        autoencoder = CorrelatedAutoencoder(
            config.model.embedding, labels, latent=latent, hidden=settings.hidden
        )
        reading = {
            "latent space": f"{latent} units, sigmoid - 0.5, mean square 1/16; f, leaky ReLU and "
            f"one layer to it; encoder and decoder with {settings.hidden} hidden units",
            "c2ae": "2 root(latent units) * (squared distance, mean over images and units + "
            f"{settings.orthogonality:g} * squared error of both second-moment matrices of the "
            f"global batch) + {settings.alpha:g} * ranking loss of the decoded label code, not "
            "sent into the image net",
            "ranking": f"exp(-{settings.sharpness:g} (p - q)) / {settings.sharpness:g} on "
            "probabilities, mean over pairs, 0 for images with no pair",
            "scores": "sigmoid of the decoded image code; trained to rank, not to a threshold",
        }
        super().__init__({"image": image, "classifier": autoencoder}, EMBEDDING | reading)
        self.settings = settings

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """See `Method.forward`; the batch is all that it depends on."""
        net, settings = self.parts["classifier"], self.settings
        assert isinstance(net, CorrelatedAutoencoder)
        embeddings = self.embed_batch(batch, context)
        with no_autocast(embeddings.device):
            images, label_sets = net.project(embeddings), net.encode(batch.targets)
            ranking = losses.pairwise_exponential(
                net.decode(label_sets).sigmoid(), batch.targets, sharpness=settings.sharpness
            )
            weight = 2 * math.sqrt(net.latent)
            terms = {
                "latent": (
                    weight,
                    global_share(losses.latent_distance(images, label_sets), batch),
                ),
                "orthogonality": (
                    weight * settings.orthogonality,
                    _orthogonality_share(images, label_sets, batch),
                ),
                "ranking": (settings.alpha, global_share(ranking, batch)),
            }
        return step_output(terms, {}, None)


def _orthogonality_share(
    images: Float[Tensor, "rows latent"], label_sets: Float[Tensor, "rows latent"], batch: Batch
) -> Float[Tensor, ""]:
    """This rank's equal share of what the constraint costs the global batch, for both codes.

    Every rank computes the whole term from rows of all ranks, and the gather's backward pass
    sums what all of them say about a row: with 1 / ranks of the term each, that is once.
    """
    both = comm.gather_rows_autograd(torch.stack([images, label_sets], 1))
    valid = comm.gather_rows(batch.valid)
    terms = [
        losses.orthogonality(codes, valid, mean_square=_MEAN_SQUARE) for codes in both.unbind(1)
    ]
    return torch.stack(terms).sum() / comm.world_size()
