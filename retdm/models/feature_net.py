"""The frozen features that shallow methods learn from: pixels to what the backbone gives.

Shapes: batch = images, side = image side, features = width of the backbone's output.
"""

import torch
from jaxtyping import Float, UInt8
from torch import Tensor, nn

from retdm.config import ModelSettings
from retdm.models.backbone import Backbone, build_backbone
from retdm.models.image_net import Normalise, check_size


class FeatureNet(nn.Module):
    """A backbone alone: no fresh layers, and nothing that ever learns.

    VGG gives the output of its first fully connected layer, before any activation; other
    networks their pooled features.
    """

    def __init__(self, backbone: Backbone) -> None:
        """Freeze `backbone`, which is taken over, and put it into evaluation mode."""
        super().__init__()
        self.normalise = Normalise(backbone.mean, backbone.std)
        # Convolutions are fastest on channels-last tensors, on CPUs and on GPUs in bfloat16.
        self.features = backbone.module.to(memory_format=torch.channels_last)
        self.width = backbone.width
        self.requires_grad_(False).eval()

    def forward(
        self, images: UInt8[Tensor, "batch 3 side side"]
    ) -> Float[Tensor, "batch features"]:
        """Features of images."""
        features: Tensor = self.features(self.normalise(images))
        return features


def build_feature_net(
    settings: ModelSettings, *, image_size: int, load_weights: bool = True
) -> FeatureNet:
    """Make the net that `settings` names and try it on one blank image.

    Args:
        settings: The `model.*` table, of which backbone and weights are used.
        image_size: Side of the images that it will get, in pixels.
        load_weights: False leaves the fresh weights in, for a net that a checkpoint will fill.

    Raises:
        ConfigError: If the backbone is unknown, its weights do not fit or cannot be had, or it
            does not take images of this size.
    """
    net = FeatureNet(build_backbone(settings, load_weights=load_weights))
    check_size(net, settings.backbone, image_size)
    return net.eval()
