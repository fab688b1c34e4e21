"""From the setting `method` to the system it names."""

import difflib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch

from retdm.config import Config
from retdm.errors import ConfigError
from retdm.methods.asl import Asl
from retdm.methods.base import Method
from retdm.methods.bce import Bce
from retdm.methods.c2ae import C2ae
from retdm.methods.center import PerLabelCenter, make_center
from retdm.methods.cnn_rnn import CnnRnn
from retdm.methods.fitted import FittedMethod
from retdm.methods.lmmo_knn import LmmoKnn
from retdm.methods.mlspl import Mlspl
from retdm.methods.retdm import Retdm
from retdm.methods.softmax import Softmax
from retdm.methods.warp import Warp
from retdm.models import build_feature_net, build_image_net


@dataclass(frozen=True, slots=True)
class _Entry:
    kind: type[Method]
    make: Callable[[Config, Any, int], Method]
    """From settings, the image net of this kind and the number of labels."""


METHODS: dict[str, _Entry] = {
    "retdm": _Entry(Retdm, Retdm),
    "retdm-one-way": _Entry(
        Retdm, lambda config, image, labels: Retdm(config, image, labels, ways=1)
    ),
    "retdm-four-way": _Entry(
        Retdm, lambda config, image, labels: Retdm(config, image, labels, ways=4)
    ),
    "bce": _Entry(Bce, Bce),
    "asl": _Entry(Asl, Asl),
    "softmax": _Entry(Softmax, Softmax),
    "warp": _Entry(Warp, Warp),
    "center": _Entry(PerLabelCenter, make_center),
    "lmmo-knn": _Entry(LmmoKnn, LmmoKnn),
    "mlspl": _Entry(Mlspl, Mlspl),
    "c2ae": _Entry(C2ae, C2ae),
    "cnn-rnn": _Entry(CnnRnn, CnnRnn),
}


def build_method(config: Config, labels: int, *, load_weights: bool = True) -> Method:
    """Make the method that `config.method` names, on the CPU, with weights drawn from the seed.

    Args:
        config: The whole settings; `method`, `seed`, `model`, `loss` and `stages` are used.
        labels: Number of labels.
        load_weights: False leaves `model.weights` alone, for a method that a checkpoint fills.

    Raises:
        ConfigError: If the method or backbone is unknown, the weights cannot be had, or a stage
            trains a part that none of its losses reaches.
    """
    if config.method not in METHODS:
        near = difflib.get_close_matches(config.method, METHODS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(METHODS)}"
        raise ConfigError(f"method = {config.method!r} is not known; {hint}")
    entry = METHODS[config.method]
    # The seed decides the weights, whatever was drawn before; and nothing drawn later changes.
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        build = build_feature_net if issubclass(entry.kind, FittedMethod) else build_image_net
        image = build(config.model, image_size=config.data.image_size, load_weights=load_weights)
        method = entry.make(config, image, labels)
    _check_stages(config, method)
    return method


def _check_stages(config: Config, method: Method) -> None:
    """A part without a gradient would make DDP wait for it forever."""
    own = frozenset[str]().union(*method.reach.values())
    for name, stage in config.stages.items():
        reached = frozenset[str]().union(*(method.reach.get(loss, ()) for loss in stage.losses))
        idle = sorted((set(stage.train) & own) - reached)
        if idle and stage.epochs:
            helpful = [loss for loss, parts in method.reach.items() if idle[0] in parts]
            raise ConfigError(
                f"stages.{name}.train has {idle[0]!r}, which none of stages.{name}.losses trains; "
                f"add {' or '.join(helpful)} to the losses, or take {idle[0]!r} out"
            )
