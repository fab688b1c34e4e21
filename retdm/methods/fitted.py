"""What shallow methods share: frozen features, and a classifier fitted to all of them at once.

Shapes: rows = images of a batch, images = those of the training split, features = width of the
backbone's output, labels = columns of the label space.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar

import torch
from jaxtyping import Bool, Float, Float32
from torch import Tensor, nn

from retdm.config import Config
from retdm.data.batch import Batch
from retdm.methods.base import Method, StepContext, StepOutput
from retdm.models import FeatureNet
from retdm.precision import exact_products


class FittedClassifier(nn.Module):
    """A model whose whole state is buffers, some with as many rows as a checkpoint has."""

    grows: ClassVar[frozenset[str]] = frozenset()
    """Names of those."""

    def keep(self, **values: Tensor) -> None:
        """Give buffers new values, on the device and in the dtype that they have."""
        for name, value in values.items():
            old = self.get_buffer(name)
            setattr(self, name, value.to(old).contiguous())

    def _load_from_state_dict(
        self, state_dict: Mapping[str, Any], prefix: str, *arguments: Any
    ) -> None:
        """Make room for what comes: how much a fitted model holds depends on the data."""
        for name in self.grows:
            buffer, given = self.get_buffer(name), state_dict.get(prefix + name)
            if isinstance(given, Tensor) and given.shape[1:] == buffer.shape[1:]:
                setattr(self, name, buffer.new_zeros(given.shape))
        super()._load_from_state_dict(state_dict, prefix, *arguments)


class LinearClassifier(FittedClassifier):
    """One number a label, W x + b; before the fit all are 0."""

    weight: Tensor
    bias: Tensor

    def __init__(self, features: int, labels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.zeros(labels, features))
        self.register_buffer("bias", torch.zeros(labels))

    def forward(self, features: Float[Tensor, "rows features"]) -> Float[Tensor, "rows labels"]:
        """W x + b, in the precision of W."""
        # On raw features, whose means b takes away again: what is left can be small beside both.
        with exact_products(features.device):
            return features.to(self.weight.dtype) @ self.weight.T + self.bias


class FittedMethod(Method, ABC):
    """A method with one stage and no steps: its classifier is fitted to the features of a split.

    Nothing of it is drawn at random beyond what the backbone's weights are, so with pretrained
    ones all seeds give the same result.
    """

    reach: ClassVar[Mapping[str, frozenset[str]]] = {}
    classification: ClassVar[str] = "fit"

    def __init__(
        self,
        config: Config,
        image: FeatureNet,
        classifier: FittedClassifier,
        reading: Mapping[str, str],
    ) -> None:
        """Put the classifier, yet to be fitted, on the frozen net `image`."""
        model = config.model
        super().__init__(
            {"image": image, "classifier": classifier},
            {
                "features": f"{model.backbone}, weights {model.weights}, frozen; centre crops; "
                "each feature with mean 0 and variance 1 over the training images",
                "stages": "one fit, which no setting below stages, optimizer or loss changes",
                **reading,
            },
        )

    def forward(self, batch: Batch, context: StepContext) -> StepOutput:
        """There are no steps."""
        raise TypeError(f"{type(self).__name__} takes no steps; call fit")

    def fit(
        self, features: Float32[Tensor, "images features"], targets: Bool[Tensor, "images labels"]
    ) -> dict[str, float]:
        """Fit the classifier to all training images; the same input gives the same result.

        Needs about three times the memory of `features`, on the device of the classifier.

        Returns:
            Named values of the fit: "total", the objective at its end, and others.
        """
        device = next(self.parts["classifier"].buffers()).device
        mean, scale = standardisation(features)
        standard = ((features - mean) / scale).to(device)
        return self._fit(standard, targets.to(device), mean.to(device), scale.to(device))

    @abstractmethod
    def _fit(
        self,
        standard: Float32[Tensor, "images features"],
        targets: Bool[Tensor, "images labels"],
        mean: Float32[Tensor, " features"],
        scale: Float32[Tensor, " features"],
    ) -> dict[str, float]:
        """Fit to standardised features, (features - mean) / scale; see `fit`."""


def standardisation(
    features: Float32[Tensor, "images features"],
) -> tuple[Float32[Tensor, " features"], Float32[Tensor, " features"]]:
    """Mean and standard deviation of each feature; 1 for a feature that does not vary."""
    variance, mean = torch.var_mean(features, dim=0, correction=0)
    deviation = variance.sqrt()
    varies = deviation > 1e-6 * mean.abs().clamp(min=1e-6)
    return mean, torch.where(varies, deviation, 1.0)


def on_raw_features(
    weight: Float[Tensor, "out features"],
    bias: Float[Tensor, " out"],
    mean: Float[Tensor, " features"],
    scale: Float[Tensor, " features"],
) -> tuple[Float[Tensor, "out features"], Float[Tensor, " out"]]:
    """The linear map that does to features what (weight, bias) does to standardised ones."""
    raw = weight / scale
    return raw, bias - raw @ mean.to(raw)
