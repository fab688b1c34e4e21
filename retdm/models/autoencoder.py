"""The canonical-correlated autoencoder of C2AE: image and labels into one space, and back.

Yeh, Wu, Ko & Wang, AAAI 2017 (arXiv 1707.00418). Shapes: rows = images, embed = embedding width,
latent = width of the common space, labels = columns of the label space.
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn

_SLOPE = 0.1
"""Of the leaky ReLUs below 0, as in the authors' code."""


class CorrelatedAutoencoder(nn.Module):
    """F_x on top of the image embedding, the label encoder F_e and the label decoder F_d.

    F_x is one leaky ReLU and one linear layer: with the image net's own two layers it is the
    authors' net of two hidden layers on the backbone's features. F_e and F_d have one hidden
    layer each. Latents are sigmoid(z) - 0.5, in (-0.5, 0.5); the decoder gives logits.
    """

    def __init__(self, embedding: int, labels: int, *, latent: int, hidden: int) -> None:
        """Make the nets with PyTorch's default initial weights.

        Args:
            embedding: Width of the image embedding.
            labels: Number of labels.
            latent: Width of the common space.
            hidden: Units of the hidden layers of F_e and F_d.
        """
        super().__init__()
        self.latent = latent
        self.image = nn.Sequential(nn.LeakyReLU(_SLOPE), nn.Linear(embedding, latent))
        self.encoder = _two_layers(labels, hidden, latent)
        self.decoder = _two_layers(latent, hidden, labels)

    def project(self, embeddings: Float[Tensor, "rows embed"]) -> Float[Tensor, "rows latent"]:
        """F_x: from image embeddings to latents."""
        return _latents(self.image(embeddings))

    def encode(self, targets: Bool[Tensor, "rows labels"]) -> Float[Tensor, "rows latent"]:
        """F_e: from label sets, read as 0 and 1, to latents."""
        return _latents(self.encoder(targets.to(next(self.encoder.parameters()).dtype)))

    def decode(self, latents: Float[Tensor, "rows latent"]) -> Float[Tensor, "rows labels"]:
        """F_d before its sigmoid: from latents of either kind to one logit a label."""
        logits: Tensor = self.decoder(latents)
        return logits

    def forward(self, embeddings: Float[Tensor, "rows embed"]) -> Float[Tensor, "rows labels"]:
        """F_d(F_x(x)) before its sigmoid: the prediction."""
        return self.decode(self.project(embeddings))


def _two_layers(inputs: int, hidden: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(inputs, hidden), nn.LeakyReLU(_SLOPE), nn.Linear(hidden, outputs)
    )


def _latents(outputs: Tensor) -> Tensor:
    return outputs.sigmoid() - 0.5
