"""Multi-label self-paced learning: easy (image, label) pairs first, on frozen features.

Li, Wei, Yan, Zhang, Liu and Zha, TNNLS 29(6), 2018. Simplified: without the local codes of ML-LOC.
"""

import torch
from jaxtyping import Bool, Float32
from torch import Tensor

from retdm.config import Config
from retdm.methods.fitted import FittedMethod, LinearClassifier, on_raw_features
from retdm.methods.self_paced import (
    WeightedLogistic,
    alternate,
    first_pace,
    pair_losses,
    pair_weights,
)
from retdm.models import FeatureNet


class Mlspl(FittedMethod):
    """A logistic regression for each label, whose pairs join from easy to hard."""

    looks_at = frozenset({"mlspl"})

    def __init__(self, config: Config, image: FeatureNet, labels: int) -> None:
        """Use the settings `mlspl.*`."""
        self.settings = config.mlspl
        super().__init__(
            config,
            image,
            LinearClassifier(image.width, labels),
            {
                "self-paced function": config.mlspl.pace,
                "pace": "one for each label: the larger median loss, of its positives or its "
                f"negatives, in a fit to all pairs with ridge {config.mlspl.start_ridge:g}; "
                f"times {config.mlspl.growth:g} in every round",
                "local codes": "none",
                "loss": "logistic, mean over images; ridge on the weights, not on the bias",
            },
        )

    def _fit(
        self,
        standard: Float32[Tensor, "images features"],
        targets: Bool[Tensor, "images labels"],
        mean: Float32[Tensor, " features"],
        scale: Float32[Tensor, " features"],
    ) -> dict[str, float]:
        """Fit to all pairs with caution, then in rounds to those that are easy enough by then.

        With more features than images a fit without much of a ridge leaves hardly a loss: the
        pace that begins there is so small that dropping all pairs costs less than fitting them.

        A round costs up to 100 passes over the features.
        """
        settings = self.settings
        model = WeightedLogistic(standard, targets, ridge=settings.start_ridge)
        model.fit(torch.ones_like(targets, dtype=torch.float64))
        pace = first_pace(pair_losses(model.logits(), targets), targets)
        model.ridge, total = settings.ridge, 0.0
        for _ in range(settings.rounds):
            # Before the first round too: a pair with just the median loss would have no weight.
            pace = pace * settings.growth
            total = alternate(model, pace, settings.pace)[-1]
        losses = pair_losses(model.logits(), targets)
        weights = pair_weights(losses, pace, settings.pace)
        linear = model.parameters[:, :-1], model.parameters[:, -1]
        weight, bias = on_raw_features(*linear, mean, scale)
        classifier = self.parts["classifier"]
        assert isinstance(classifier, LinearClassifier)
        classifier.keep(weight=weight, bias=bias)
        return {
            "total": total,
            "loss": float(losses.mean()),
            "selected": float((weights > 0).double().mean()),
        }
