"""The label embedding net F_y, eq. (3), and the two linear heads, eqs. (9) and (11).

Shapes: batch = rows, labels = columns of the label space, embed = embedding width.
"""

from jaxtyping import Bool, Float
from torch import Tensor, nn


class LabelEmbeddingNet(nn.Module):
    """Embeds a label set: two fully connected layers with a ReLU between, none after.

    The paper gives the two layers of 512 units and no activation; without one between, the two
    would be one linear map, and with one after, half the space would be out of reach of g.
    """

    def __init__(self, labels: int, embedding: int) -> None:
        """Make the net with PyTorch's default initial weights.

        Args:
            labels: Number of labels.
            embedding: Units of both layers.
        """
        super().__init__()
        self.layers = nn.Sequential(
            nn.Linear(labels, embedding), nn.ReLU(inplace=True), nn.Linear(embedding, embedding)
        )

    def forward(self, targets: Bool[Tensor, "... labels"]) -> Float[Tensor, "... embed"]:
        """Embed label sets given as multi-hot rows; they are read as 0 and 1."""
        embedded: Tensor = self.layers(targets.to(next(self.layers.parameters()).dtype))
        return embedded


def classifier_head(embedding: int, labels: int) -> nn.Linear:
    """From an image embedding to one logit a label, eq. (9) before its sigmoid."""
    return nn.Linear(embedding, labels)


def reconstruction_head(embedding: int, labels: int) -> nn.Linear:
    """From a label embedding back to the label vector, eq. (11): linear, no sigmoid."""
    return nn.Linear(embedding, labels)
