"""Backbones by name: any torchvision classifier, or timm's with a "timm:" before the name.

A backbone is a classification network whose last layer was taken off. In torchvision that layer
is the last `Linear` (or, in SqueezeNet, `Conv2d`) with as many outputs as classes, in the order in
which the network registers its layers; an identity takes its place. VGG networks end one layer
earlier, after their first fully connected one, because the paper cuts the second. timm
networks are asked for their pooled features (`num_classes=0`).
"""

import difflib
import importlib.util
from dataclasses import dataclass
from typing import Any

from torch import nn

from retdm.config import ModelSettings
from retdm.errors import ConfigError
from retdm.models import pretrained

_CLASSES = 1000
_IMAGENET_MEAN = (0.485, 0.456, 0.406)
_IMAGENET_STD = (0.229, 0.224, 0.225)
# Their auxiliary classifiers give a tuple in training; they are no part of the network's features.
_PLAIN: dict[str, dict[str, Any]] = {
    "googlenet": {"aux_logits": False, "init_weights": True},
    "inception_v3": {"aux_logits": False, "init_weights": True},
}


@dataclass(frozen=True, slots=True)
class Backbone:
    """A network from normalised images to pooled features."""

    module: nn.Module
    width: int
    """Features an image."""
    mean: tuple[float, ...]
    """Of the pixels it was pretrained on, each channel, in [0, 1]."""
    std: tuple[float, ...]
    hidden_included: bool = False
    """Whether the features already come from a fully connected layer, as VGG's do."""


def build_backbone(settings: ModelSettings, *, load_weights: bool = True) -> Backbone:
    """Make the backbone that `model.backbone` names, with the weights of `model.weights`.

    Raises:
        ConfigError: If the name is unknown (offers the nearest), timm is needed and absent, or
            the weights do not fit or cannot be had.
    """
    weights = settings.weights if load_weights else "none"
    source, colon, name = settings.backbone.partition(":")
    if colon and source == "timm":
        return _timm(name, weights)
    if colon:
        raise ConfigError(
            f"model.backbone = {settings.backbone!r}: unknown source {source!r}; "
            'give a torchvision name, or "timm:NAME"'
        )
    return _torchvision(settings.backbone, weights)


def _torchvision(name: str, weights: str) -> Backbone:
    # Takes a second and a half, for which programs that make no network need not wait.
    from torchvision import models as zoo

    known = zoo.list_models(module=zoo)
    if name not in known:
        raise _unknown(name, known, 'a torchvision classifier, or "timm:NAME"')
    if weights == "imagenet":
        network = pretrained.torchvision_imagenet(name, **_PLAIN.get(name, {}))
    else:
        network = zoo.get_model(name, weights=None, **_PLAIN.get(name, {}))
        if weights != "none":
            pretrained.load_file(network, weights, head=_last_layer(network), name=name)
    if name.startswith("vgg"):
        # Linear(25088, 4096), ReLU, Dropout, Linear(4096, 4096), ...: keep the first.
        first = network.get_submodule("classifier.0")
        assert isinstance(first, nn.Linear)
        network.classifier = nn.Sequential(first)
        width, hidden = first.out_features, True
    else:
        width, hidden = _take_off(network, _last_layer(network)), False
    return Backbone(network, width, _IMAGENET_MEAN, _IMAGENET_STD, hidden_included=hidden)


def _timm(name: str, weights: str) -> Backbone:
    if importlib.util.find_spec("timm") is None:
        raise ConfigError(
            f"model.backbone = 'timm:{name}' needs timm, which is not installed; "
            "run pip install 'retdm[timm]'"
        )
    import timm

    # A name may carry the tag of one set of weights: "vit_tiny_patch16_224.augreg_in21k".
    if not timm.is_model(name):
        raise _unknown(name, timm.list_models(), "a timm model", prefix="timm:")
    network: Any
    if weights == "imagenet":
        network = pretrained.timm_imagenet(name)
    else:
        network = timm.create_model(name, pretrained=False)
        if weights != "none":
            head = _timm_head(network)
            pretrained.load_file(network, weights, head=head, name=f"timm:{name}")
    network.reset_classifier(0)
    norm = network.pretrained_cfg
    return Backbone(
        network,
        width=int(getattr(network, "head_hidden_size", None) or network.num_features),
        mean=tuple(norm.get("mean") or _IMAGENET_MEAN),
        std=tuple(norm.get("std") or _IMAGENET_STD),
    )


def _timm_head(network: Any) -> str:
    """Name of timm's classifier layer; some networks have several and list them."""
    names = network.pretrained_cfg["classifier"]
    return names if isinstance(names, str) else str(names[0])


def _last_layer(network: nn.Module) -> str:
    """Name of the layer that gives the class scores."""
    names: list[str] = [
        name
        for name, layer in network.named_modules()
        if (isinstance(layer, nn.Linear) and layer.out_features == _CLASSES)
        or (isinstance(layer, nn.Conv2d) and layer.out_channels == _CLASSES)
    ]
    return names[-1]


def _take_off(network: nn.Module, layer: str) -> int:
    """Replace `layer` by an identity; returns its input width."""
    parent, _, leaf = layer.rpartition(".")
    last = network.get_submodule(layer)
    network.get_submodule(parent).register_module(leaf, nn.Identity())
    if isinstance(last, nn.Linear):
        return int(last.in_features)
    assert isinstance(last, nn.Conv2d)
    return int(last.in_channels)


def _unknown(name: str, known: list[str], kind: str, prefix: str = "") -> ConfigError:
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.6)
    hint = f"did you mean {' or '.join(prefix + n for n in near)}?" if near else f"give {kind}"
    return ConfigError(f"model.backbone = '{prefix}{name}' is not known; {hint}")
