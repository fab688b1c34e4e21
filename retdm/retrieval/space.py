"""Images and label sets as points whose Euclidean distance says what is near.

Shapes: rows = images or label sets, embed = width of the space.
"""

from collections.abc import Iterable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32
from numpy import ndarray

from retdm import losses
from retdm.errors import ConfigError
from retdm.labels import LabelSpace
from retdm.methods.base import evaluating
from retdm.methods.common_space import common_space
from retdm.predictor import Predictor


def image_points(
    model: Predictor, embeddings: Float32[ndarray, "rows width"]
) -> Float32[ndarray, "rows embed"]:
    """Images in the space in which the method compares them with label sets.

    Of a method that has none only the directions count: lengths of its features mean nothing.

    Args:
        model: Made the embeddings.
        embeddings: As `Predictor.embed` gives them.
    """
    common = common_space(model.method)
    rows = torch.from_numpy(embeddings)
    with evaluating(model.method), torch.inference_mode():
        points = losses.unit(rows) if common is None else common.images(rows.to(model.device))
    return np.asarray(points.float().cpu().numpy())


def label_points(
    model: Predictor, targets: Bool[ndarray, "rows labels"]
) -> Float32[ndarray, "rows embed"]:
    """Label sets in the same space.

    Raises:
        ConfigError: If the model's method embeds no labels.
    """
    common = common_space(model.method)
    if common is None:
        raise ConfigError(
            f"{model.origin.url}: method {model.config.method} has no embeddings of labels; take "
            "a run of retdm, retdm-one-way, retdm-four-way or c2ae"
        )
    with evaluating(model.method), torch.inference_mode():
        points = common.label_sets(torch.from_numpy(targets).to(model.device))
    return np.asarray(points.float().cpu().numpy())


def to_targets(
    names: Sequence[Iterable[str]], labels: Sequence[str]
) -> Bool[ndarray, "sets labels"]:
    """Sets of label names as rows of 0 and 1.

    Raises:
        DatasetError: If a name is none of `labels`; offers the nearest.
    """
    space = LabelSpace(tuple(labels))
    targets: Bool[ndarray, "sets labels"] = np.zeros((len(names), len(labels)), dtype=np.bool_)
    for row, chosen in enumerate(names):
        for name in chosen:
            targets[row, space.index(name, where="the model")] = True
    return targets
