"""Self-paced logistic regression: weights of pairs in closed form, classifiers by L-BFGS.

Objective, for labels c and images i of N, with the logistic loss l:

    1/N sum_ic [ v_ic l(y_ic, w_c x_i + b_c) + f(v_ic, pace) ] + ridge ||W||^2,   0 <= v <= 1
    f = -pace v (hard)   or   pace (v^2 / 2 - v) (linear)

Shapes: images, features, labels; each label has its own pace.
"""

from collections.abc import Callable, Iterator
from typing import Literal

import torch
from jaxtyping import Bool, Float
from torch import Tensor
from torch.nn.functional import softplus

Pace = Literal["hard", "linear"]
_CHUNK = 8192
_LEAST_PACE = 1e-12
_MAX_ITERATIONS = 100


def pair_losses(
    logits: Float[Tensor, "images labels"], targets: Bool[Tensor, "images labels"]
) -> Float[Tensor, "images labels"]:
    """Logistic loss of each (image, label) pair."""
    return softplus(torch.where(targets, -logits, logits))


def pair_weights(
    losses: Float[Tensor, "images labels"], pace: Float[Tensor, " labels"], kind: Pace
) -> Float[Tensor, "images labels"]:
    """The weights v in [0, 1] that minimise the objective while the classifiers stand still.

    Hard: 1 where the loss is below the pace, else 0. Linear: max(0, 1 - loss / pace).
    """
    if kind == "hard":
        return (losses < pace).to(losses.dtype)
    return (1 - losses / pace).clamp(min=0)


def regulariser(
    weights: Float[Tensor, "images labels"], pace: Float[Tensor, " labels"], kind: Pace
) -> Float[Tensor, "images labels"]:
    """The term f(v, pace) that rewards large weights, by the pair."""
    return -pace * weights if kind == "hard" else pace * (weights.square() / 2 - weights)


def first_pace(
    losses: Float[Tensor, "images labels"], targets: Bool[Tensor, "images labels"]
) -> Float[Tensor, " labels"]:
    """The pace that lets in at least half of each label's positives, and half of its negatives.

    That is the larger of their two median losses; a pair with just that loss has weight 0 yet.
    The median of all would leave out the positives of a rare label, and its classifier would
    collapse. A class without images says nothing.
    """
    medians = torch.stack(
        [
            losses.masked_fill(~wanted, torch.nan).nanmedian(dim=0).values
            for wanted in (targets, ~targets)
        ]
    )
    return medians.nan_to_num(nan=0.0).amax(dim=0).clamp(min=_LEAST_PACE)


class WeightedLogistic:
    """Logistic regressions of all labels at once, each pair with its own weight.

    Features are taken to double precision by the chunk, so that the search for the minimum does
    not end in rounding errors, and memory stays that of single precision.
    """

    def __init__(
        self,
        features: Float[Tensor, "images features"],
        targets: Bool[Tensor, "images labels"],
        *,
        ridge: float,
    ) -> None:
        """Begin with weights of 0 and the bias that gives each label's frequency."""
        self.features, self.targets, self.ridge = features, targets, ridge
        # One image of each class more, so that a label that is never or always there is finite.
        share = (targets.sum(dim=0).double() + 1) / (len(targets) + 2)
        zeros = share.new_zeros(targets.shape[1], features.shape[1])
        self.parameters = torch.cat([zeros, share.logit()[:, None]], dim=1)
        """Weight and, in the last column, bias of each label."""

    def logits(self) -> Float[Tensor, "images labels"]:
        """Of all training images."""
        return torch.cat([self._logits(rows, self.parameters) for rows in self._chunks()])

    def fit(self, weights: Float[Tensor, "images labels"]) -> None:
        """Minimise the weighted loss and the ridge from where the last fit ended."""

        def evaluate(parameters: Tensor) -> tuple[Tensor, Tensor]:
            return self.value_and_gradient(parameters, weights)

        self.parameters = minimise(evaluate, self.parameters)

    def penalty(self) -> Float[Tensor, ""]:
        """The ridge's value."""
        return self.ridge * self.parameters[:, :-1].square().sum()

    def value_and_gradient(
        self, parameters: Float[Tensor, "labels columns"], weights: Float[Tensor, "images labels"]
    ) -> tuple[Float[Tensor, ""], Float[Tensor, "labels columns"]]:
        """Mean over images of the weighted losses, and the ridge."""
        value = self.ridge * parameters[:, :-1].square().sum()
        gradient = 2 * self.ridge * parameters
        gradient[:, -1] = 0
        start, total = 0, len(self.features)
        for rows in self._chunks():
            part = slice(start, start + len(rows))
            start += len(rows)
            logits, targets = self._logits(rows, parameters), self.targets[part]
            value = value + (weights[part] * pair_losses(logits, targets)).sum() / total
            slope = weights[part] * (logits.sigmoid() - targets.double()) / total
            gradient[:, :-1] += slope.T @ rows
            gradient[:, -1] += slope.sum(dim=0)
        return value, gradient

    def _chunks(self) -> Iterator[Tensor]:
        return (rows.double() for rows in torch.split(self.features, _CHUNK))

    @staticmethod
    def _logits(rows: Tensor, parameters: Tensor) -> Tensor:
        return rows @ parameters[:, :-1].T + parameters[:, -1]


def minimise(function: Callable[[Tensor], tuple[Tensor, Tensor]], start: Tensor) -> Tensor:
    """A point where a convex function, given with its gradient, is least; never above `start`."""
    point = start.clone().requires_grad_()
    optimizer = torch.optim.LBFGS(
        [point],
        max_iter=_MAX_ITERATIONS,
        tolerance_grad=1e-7,
        tolerance_change=1e-12,
        line_search_fn="strong_wolfe",
    )

    def closure() -> float:
        value, point.grad = function(point.detach())
        return float(value)

    optimizer.step(closure)  # type: ignore[no-untyped-call]
    found = point.detach()
    # A line search that fails may end anywhere.
    return found if function(found)[0] <= function(start)[0] else start


def alternate(model: WeightedLogistic, pace: Float[Tensor, " labels"], kind: Pace) -> list[float]:
    """Set the weights, then fit the classifiers: the objective after each of the two."""
    values = []
    weights = pair_weights(pair_losses(model.logits(), model.targets), pace, kind)
    values.append(objective(model, weights, pace, kind))
    model.fit(weights)
    values.append(objective(model, weights, pace, kind))
    return values


def objective(
    model: WeightedLogistic,
    weights: Float[Tensor, "images labels"],
    pace: Float[Tensor, " labels"],
    kind: Pace,
) -> float:
    """The whole objective, which both halves of an alternation minimise."""
    losses = pair_losses(model.logits(), model.targets)
    terms = weights * losses + regulariser(weights, pace, kind)
    return float(terms.sum() / len(terms) + model.penalty())
