"""Large-margin metric learning with k nearest neighbours, on frozen features.

Liu and Tsang, "Large margin metric learning for multi-label prediction", AAAI 2015.
"""

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor

from retdm.config import Config
from retdm.methods.fitted import FittedMethod, LinearClassifier, on_raw_features
from retdm.methods.large_margin import (
    MarginObjective,
    learn_metric,
    nearest,
    ridge_regression,
    square_root,
)
from retdm.models import FeatureNet


class NearestLabels(LinearClassifier):
    """The mean label vector of the k training images nearest in a learned space of few dimensions.

    Images are placed in that space by W x + b. Before the fit, with no training images, every
    label gets 1/2.
    """

    points: Tensor
    targets: Tensor

    grows = frozenset({"points", "targets"})

    def __init__(self, features: int, labels: int, *, k: int) -> None:
        super().__init__(features, labels)
        self.k = k
        self.register_buffer("points", torch.zeros(0, labels))
        self.register_buffer("targets", torch.zeros(0, labels, dtype=torch.bool))

    def forward(self, features: Float[Tensor, "rows features"]) -> Float[Tensor, "rows labels"]:
        """Share of each label among the neighbours, in [0, 1]."""
        if not len(self.points):
            return features.new_full((len(features), len(self.bias)), 0.5)
        # In double precision, so that ever the same neighbours are found in whatever batch.
        near = nearest(super().forward(features).double(), self.points.double(), self.k)
        return self.targets[near].to(features.dtype).mean(dim=1)


class LmmoKnn(FittedMethod):
    """Regression to the label space, a large-margin metric there, and k nearest neighbours."""

    looks_at = frozenset({"lmmo"})

    def __init__(self, config: Config, image: FeatureNet, labels: int) -> None:
        """Use the settings `lmmo.*`."""
        self.settings = config.lmmo
        super().__init__(
            config,
            image,
            NearestLabels(image.width, labels, k=config.lmmo.k),
            {
                "regression": f"ridge {config.lmmo.ridge:g} beside the mean square, with a bias",
                "margin": "Hamming distance; constraints from the label vectors of the "
                f"{config.lmmo.k} images nearest in feature space that have another one",
                "slack": f"one for each pair, cost {config.lmmo.cost:g} x its mean square",
                "solver": "projected gradient from the identity",
                "score": f"mean of {config.lmmo.k} neighbours",
            },
        )

    def probabilities(self, logits: Float[Tensor, "rows labels"]) -> Float[Tensor, "rows labels"]:
        """The neighbours' shares, which are probabilities as they are."""
        return logits

    def _fit(
        self,
        standard: Float32[Tensor, "images features"],
        targets: Bool[Tensor, "images labels"],
        mean: Float32[Tensor, " features"],
        scale: Float32[Tensor, " features"],
    ) -> dict[str, float]:
        """Costs images^2 * features for the neighbours; see the parts for the rest."""
        settings = self.settings
        weight, bias = ridge_regression(standard, targets, ridge=settings.ridge)
        projected = torch.cat(
            [rows.double() @ weight.T + bias for rows in torch.split(standard, 8192)]
        )
        groups = torch.unique(targets, dim=0, return_inverse=True)[1]
        neighbours = nearest(standard, standard, settings.k, groups=groups)
        objective = MarginObjective(projected, targets, neighbours, cost=settings.cost)
        metric, values = learn_metric(objective, targets.shape[1], iterations=settings.iterations)
        root = square_root(metric)
        raw_weight, raw_bias = on_raw_features(root.T @ weight, bias @ root, mean, scale)
        classifier = self.parts["classifier"]
        assert isinstance(classifier, NearestLabels)
        classifier.keep(weight=raw_weight, bias=raw_bias, points=projected @ root, targets=targets)
        return {
            "total": values[-1],
            "objective_at_start": values[0],
            "iterations": float(len(values) - 1),
            "pairs": float(objective.pairs.shape[1]),
        }
