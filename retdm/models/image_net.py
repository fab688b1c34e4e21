"""The image embedding net F_x, eq. (2): pixels to f.

Shapes: batch = images, side = image side, features = width of the backbone's pooled output,
embed = embedding width.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retdm.config import ModelSettings
from retdm.errors import ConfigError
from retdm.models.backbone import Backbone, build_backbone


class Normalise(nn.Module):
    """Turns bytes into what the backbone was pretrained on: (x / 255 - mean) / std.

    The first layer of the net, so that a saved model needs no word about preprocessing.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def forward(self, images: UInt8[Tensor, "batch 3 side side"]) -> Tensor:
        """Normalised images in the dtype of `mean`."""
        pixels = images.to(self.mean.dtype, memory_format=torch.channels_last)
        return (pixels / 255 - self.mean) / self.std


class ImageEmbeddingNet(nn.Module):
    """Backbone and embedding layers.

    VGG, as in the paper: the last fully connected layer is dropped and the second cut to `embed`
    units, so f = FC(dropout(relu(FC(features)))). Any other backbone: its pooled features go
    through two new layers of that same form, f = FC(dropout(relu(FC(features)))), both of
    `embed` units. No activation after the last one: f must be able to reach any g.
    """

    def __init__(self, backbone: Backbone, *, embedding: int, dropout: float) -> None:
        """Put the new layers on `backbone`; only they get fresh weights."""
        super().__init__()
        self.normalise = Normalise(backbone.mean, backbone.std)
        # Convolutions are fastest on channels-last tensors, on CPUs and on GPUs in bfloat16.
        self.features = backbone.module.to(memory_format=torch.channels_last)
        hidden = [] if backbone.hidden_included else [nn.Linear(backbone.width, embedding)]
        width = backbone.width if backbone.hidden_included else embedding
        self.embed = nn.Sequential(
            *hidden, nn.ReLU(inplace=True), nn.Dropout(dropout), nn.Linear(width, embedding)
        )

    def forward(self, images: UInt8[Tensor, "batch 3 side side"]) -> Float[Tensor, "batch embed"]:
        """Embed images."""
        embedded: Tensor = self.embed(self.features(self.normalise(images)))
        return embedded


def build_image_net(
    settings: ModelSettings, *, image_size: int, load_weights: bool = True
) -> ImageEmbeddingNet:
    """Make the net that `settings` names and try it on one blank image.

    Args:
        settings: The `model.*` table.
        image_size: Side of the images that it will get, in pixels.
        load_weights: False leaves the fresh weights in, for a net that a checkpoint will fill.

    Raises:
        ConfigError: If the backbone is unknown, its weights do not fit or cannot be had, or it
            does not take images of this size.
    """
    backbone = build_backbone(settings, load_weights=load_weights)
    net = ImageEmbeddingNet(backbone, embedding=settings.embedding, dropout=settings.dropout)
    check_size(net, settings.backbone, image_size)
    return net


@torch.inference_mode()
def check_size(net: nn.Module, name: str, image_size: int) -> None:
    """Fail now with the setting's name rather than in a worker with a shape.

    Args:
        net: Takes bytes; is in training mode afterwards.
        name: `model.backbone`.
        image_size: `data.image_size`.

    Raises:
        ConfigError: If the net does not take images of this size.
    """
    net.eval()
    try:
        net(torch.zeros(1, 3, image_size, image_size, dtype=torch.uint8))
    # Networks refuse sizes in their own ways: torch._assert, RuntimeError, ValueError.
    except (AssertionError, RuntimeError, ValueError, IndexError) as error:
        raise ConfigError(
            f"model.backbone {name!r} does not take data.image_size = {image_size} "
            f"({str(error).splitlines()[0]}); set data.image_size to the size it was made for"
        ) from error
    net.train()
