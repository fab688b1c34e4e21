"""Image embedding nets of many backbones, on images of the sizes they allow."""

import subprocess
import sys

import pytest
import torch
from torch import nn

from retdm.config import ModelSettings
from retdm.errors import ConfigError
from retdm.models import build_image_net


def build(backbone, image_size=64, **more):
    settings = ModelSettings(**{"weights": "none", "embedding": 32, **more}, backbone=backbone)
    return build_image_net(settings, image_size=image_size)


def images(side, count=2):
    return torch.randint(0, 256, (count, 3, side, side), dtype=torch.uint8)


@pytest.mark.parametrize(
    "backbone, width",
    [
        ("resnet18", 512),
        ("mobilenet_v3_small", 1024),
        ("squeezenet1_1", 512),  # ends in a convolution
        ("googlenet", 1024),  # has auxiliary classifiers
        ("shufflenet_v2_x0_5", 1024),
        ("timm:resnet10t", 512),
        ("timm:tf_efficientnet_lite0", 1280),
    ],
)
def test_pooled_features_go_through_two_new_layers(backbone, width):
    net = build(backbone)
    assert net(images(64)).shape == (2, 32)
    kinds = [type(layer) for layer in net.embed]
    assert kinds == [nn.Linear, nn.ReLU, nn.Dropout, nn.Linear]
    assert net.embed[0].in_features == width
    assert net(images(64)).min() < 0  # f is not cut off at 0


@pytest.mark.slow
@pytest.mark.parametrize(
    "backbone, side",
    [
        ("alexnet", 64),
        ("convnext_tiny", 64),
        ("densenet121", 64),
        ("efficientnet_b0", 64),
        ("inception_v3", 96),
        ("mnasnet0_5", 64),
        ("regnet_y_400mf", 64),
        ("swin_t", 64),
        ("timm:vit_tiny_patch16_224", 224),
    ],
)
def test_other_families(backbone, side):
    assert build(backbone, side)(images(side)).shape == (2, 32)


@pytest.mark.slow
def test_vgg16_is_the_papers():
    net = build("vgg16", embedding=512, dropout=0.25)
    fc6 = net.features.classifier[0]
    assert (fc6.in_features, fc6.out_features) == (25088, 4096)
    assert [type(layer) for layer in net.embed] == [nn.ReLU, nn.Dropout, nn.Linear]
    assert (net.embed[2].in_features, net.embed[2].out_features) == (4096, 512)
    assert net.embed[1].p == 0.25
    # VGG-16 without its last two layers, 138,357,544 less 4,097,000 and 16,781,312, and ours.
    count = sum(p.numel() for p in net.parameters())
    assert count == 138_357_544 - 4_097_000 - 16_781_312 + 4097 * 512
    for side in (64, 224):
        assert net(images(side, 1)).shape == (1, 512)


def test_bytes_are_normalised_inside():
    net = build("resnet18")
    white = net.normalise(torch.full((1, 3, 2, 2), 255, dtype=torch.uint8))
    expected = (1 - torch.tensor([0.485, 0.456, 0.406])) / torch.tensor([0.229, 0.224, 0.225])
    torch.testing.assert_close(white[0, :, 0, 0], expected)
    assert "normalise.mean" in net.state_dict()


def test_timm_brings_its_own_normalisation():
    net = build("timm:tf_efficientnet_lite0")
    black = net.normalise(torch.zeros(1, 3, 2, 2, dtype=torch.uint8))
    assert black.unique().tolist() == [-1.0]


@pytest.mark.parametrize(
    "backbone, message",
    [
        ("resnet81", "'resnet81' is not known; did you mean resnet18"),
        ("zzz", 'give a torchvision classifier, or "timm:NAME"'),
        ("timm:resnet10tt", "did you mean timm:resnet10t"),
        ("hub:resnet18", "unknown source 'hub'"),
        ("fcn_resnet50", "is not known"),  # segmentation is no classifier
    ],
)
def test_an_unknown_backbone_is_an_error(backbone, message):
    with pytest.raises(ConfigError, match=message):
        build(backbone)


@pytest.mark.parametrize("backbone, side", [("alexnet", 32), ("timm:vit_tiny_patch16_224", 64)])
def test_an_image_size_that_does_not_fit_is_an_error(backbone, side):
    with pytest.raises(ConfigError, match=f"does not take data.image_size = {side}"):
        build(backbone, side)


def test_timm_absent_is_an_error(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ConfigError, match=r"pip install 'retdm\[timm\]'"):
        build("timm:resnet10t")


def test_a_net_for_a_checkpoint_needs_no_weights():
    settings = ModelSettings(backbone="resnet18", weights="/nowhere.pt")
    build_image_net(settings, image_size=32, load_weights=False)


def test_who_makes_no_network_does_not_wait_for_torchvision():
    code = "import sys, retdm.methods; sys.exit('torchvision' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
