"""Images and label sets as points of one space, and which distance it has."""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32, UInt8
from numpy import ndarray
from torch import Tensor

from retdm.errors import ConfigError
from retdm.methods.base import evaluating
from retdm.methods.retdm import Retdm
from retdm.predictor.model import Predictor


def embed_pixels(
    model: Predictor, images: UInt8[Tensor, "rows 3 side side"]
) -> Float32[ndarray, "rows embed"]:
    """Image embeddings f, eq. (2), of decoded images."""
    with evaluating(model.method), torch.inference_mode():
        embedded = model.method.embed(images.to(model.device, non_blocking=True))
    return embedded.float().cpu().numpy()


def embed_label_sets(
    model: Predictor, targets: Bool[ndarray, "sets labels"]
) -> Float32[ndarray, "sets embed"]:
    """Label embeddings g, eq. (1).

    Raises:
        ConfigError: If the model's method embeds no labels.
    """
    method = model.method
    if not isinstance(method, Retdm):
        raise ConfigError(
            f"{model.origin.url}: method {model.config.method} has no embeddings of labels; take "
            "a run of retdm, retdm-one-way or retdm-four-way"
        )
    with evaluating(method), torch.inference_mode():
        embedded = method.parts["label"](torch.from_numpy(targets).to(model.device))
    return np.asarray(embedded.float().cpu().numpy())


def to_targets(
    names: Sequence[Iterable[str]], labels: Sequence[str]
) -> Bool[ndarray, "sets labels"]:
    """Sets of label names as rows of 0 and 1.

    Raises:
        ConfigError: If a name is none of `labels`.
    """
    column = {label: number for number, label in enumerate(labels)}
    targets = np.zeros((len(names), len(labels)), dtype=np.bool_)
    for row, chosen in enumerate(names):
        for name in chosen:
            if name not in column:
                raise ConfigError(f"no label {name!r}; the model has {', '.join(labels)}")
            targets[row, column[name]] = True
    return targets


def by_angle(model: Predictor) -> bool:
    """Whether directions alone count: where training scaled embeddings to length 1.

    Of methods that compare no embeddings, too: lengths of their features mean nothing.
    """
    return not isinstance(model.method, Retdm) or model.config.loss.score.startswith("unit")
