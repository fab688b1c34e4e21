"""A large-margin metric for label vectors, by projected gradient instead of an SDP solver.

Images are regressed to the label space, p_i = P x_i + b. The metric Q, positive semidefinite, is
to place p_i nearer to its own label vector y_i than to those of the nearest training images:

    min_Q  1/2 tr(Q) + cost * mean_ij s_ij^2
    s_ij = max(0, hamming(y_i, y_j) + |p_i - y_i|_Q^2 - |p_i - y_j|_Q^2),   |z|_Q^2 = z' Q z

with j over the k images nearest to i among those with another label vector: an equal one asks for
nothing, and where most neighbours agree, Q would lose every direction that none of them is about.
The objective is convex and smooth, its only constraint is projected onto by clipping eigenvalues.

Shapes: images, features, labels; pairs = (image, neighbour) with different label vectors.
"""

import torch
from jaxtyping import Bool, Float, Float64, Int64
from torch import Tensor

from retdm.precision import exact_products

_CELLS = 2**24
"""Of the largest table that is held at a time: 128 MiB in double precision."""
_SMALL_DECREASE = 1e-10
_HALVINGS = 60


def ridge_regression(
    features: Float[Tensor, "images features"],
    targets: Bool[Tensor, "images labels"],
    *,
    ridge: float,
) -> tuple[Float64[Tensor, "labels features"], Float64[Tensor, " labels"]]:
    """Weight and bias that minimise mean_i |W x_i + b - y_i|^2 + ridge |W|^2, in closed form.

    Costs images * features^2 and features^3.

    Args:
        features: With mean 0.
        targets: Regressed to.
        ridge: Above 0, so that more features than images have an answer too.
    """
    count, width = features.shape
    bias = targets.double().mean(dim=0)
    gram = torch.eye(width, dtype=torch.float64, device=features.device) * ridge
    moment = gram.new_zeros(width, targets.shape[1])
    for rows, wanted in _chunks(width, features, targets):
        gram.addmm_(rows.double().T, rows.double(), alpha=1 / count)
        moment.addmm_(rows.double().T, wanted.double() - bias, alpha=1 / count)
    return torch.cholesky_solve(moment, torch.linalg.cholesky(gram)).T, bias


def nearest(
    queries: Float[Tensor, "rows width"],
    points: Float[Tensor, "images width"],
    k: int,
    *,
    groups: Int64[Tensor, " images"] | None = None,
) -> Int64[Tensor, "rows k"]:
    """The `k` points nearest to each query, the nearest first; all of them if there are fewer.

    Exact, by all distances: rows * images * width. Of equally near points, which one is taken is
    left open.

    Args:
        queries: Looked up.
        points: Looked among.
        k: At least 1.
        groups: Query i is point i, and its neighbours come from other groups; where these have
            fewer than `k` points, any others fill up.
    """
    found, start = [], 0
    k = min(k, len(points))
    norms = points.square().sum(dim=1)
    for (rows,) in _chunks(len(points), queries):
        # |q - x|^2 up to |q|^2, which does not change the order.
        with exact_products(rows.device):
            distances = torch.addmm(norms, rows, points.T, alpha=-2)
        if groups is not None:
            mine = groups[start : start + len(rows), None]
            distances.masked_fill_(mine == groups, torch.inf)
        found.append(distances.topk(k, dim=1, largest=False).indices)
        start += len(rows)
    return torch.cat(found) if found else torch.empty(0, k, dtype=torch.int64)


class MarginObjective:
    """The objective above, as a function of Q."""

    def __init__(
        self,
        projected: Float[Tensor, "images labels"],
        targets: Bool[Tensor, "images labels"],
        neighbours: Int64[Tensor, "images k"],
        *,
        cost: float,
    ) -> None:
        """Keep the pairs whose label vectors differ: an equal one is violated by no Q."""
        self.projected, self.targets = projected.double(), targets
        images = torch.arange(len(targets), device=targets.device)
        pairs = torch.stack([images.repeat_interleave(neighbours.shape[1]), neighbours.flatten()])
        differ = torch.cat(
            [
                (targets[left] != targets[right]).any(dim=1)
                for left, right in _chunks(targets.shape[1], pairs[0], pairs[1])
            ]
        )
        self.pairs = pairs[:, differ]
        self.weight = cost / max(self.pairs.shape[1], 1)

    def value_and_gradient(
        self, metric: Float64[Tensor, "labels labels"]
    ) -> tuple[Float64[Tensor, ""], Float64[Tensor, "labels labels"]]:
        """Objective and gradient at a symmetric Q; costs pairs * labels^2."""
        value = metric.trace() / 2
        gradient = torch.eye(len(metric), dtype=torch.float64, device=metric.device) / 2
        for left, right in _chunks(len(metric), self.pairs[0], self.pairs[1]):
            mine, others = self.targets[left], self.targets[right]
            own = self.projected[left] - mine.double()
            other = self.projected[left] - others.double()
            margin = (mine != others).sum(dim=1)
            excess = margin + _squared(own, metric) - _squared(other, metric)
            slack = excess.clamp(min=0)
            value = value + self.weight * slack.square().sum()
            scaled = 2 * self.weight * slack[:, None]
            gradient += (scaled * own).T @ own - (scaled * other).T @ other
        return value, gradient


def learn_metric(
    objective: MarginObjective, labels: int, *, iterations: int
) -> tuple[Float64[Tensor, "labels labels"], list[float]]:
    """Q by projected gradient from the identity, and the objective after every step.

    Each step is halved until it keeps what its length promises, so the objective never rises; the
    search ends early where it stops falling.
    """
    metric = torch.eye(labels, dtype=torch.float64, device=objective.projected.device)
    value, gradient = objective.value_and_gradient(metric)
    values, step = [float(value)], 1.0
    for _ in range(iterations):
        for _ in range(_HALVINGS):
            moved = positive_part(metric - step * gradient)
            change = moved - metric
            found, slope = objective.value_and_gradient(moved)
            bound = value + (gradient * change).sum() + change.square().sum() / (2 * step)
            if found <= min(bound, value):
                break
            step /= 2
        else:
            break
        metric, value, gradient = moved, found, slope
        values.append(float(value))
        step *= 2
        if values[-2] - values[-1] <= _SMALL_DECREASE * abs(values[-2]):
            break
    return metric, values


def positive_part(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """The nearest positive semidefinite matrix: negative eigenvalues become 0."""
    root = square_root(matrix)
    return root @ root.T


def square_root(matrix: Float64[Tensor, "n n"]) -> Float64[Tensor, "n n"]:
    """V with V V' = the positive part of a symmetric matrix."""
    values, vectors = torch.linalg.eigh((matrix + matrix.T) / 2)
    root: Tensor = vectors * values.clamp(min=0).sqrt()
    return root


def _squared(rows: Tensor, metric: Tensor) -> Tensor:
    squared: Tensor = ((rows @ metric) * rows).sum(dim=1)
    return squared


def _chunks(width: int, *tables: Tensor) -> "zip[tuple[Tensor, ...]]":
    """Equal runs of rows of the tables, so short that `width` columns are not too many cells."""
    rows = max(_CELLS // max(width, 1), 1)
    return zip(*(torch.split(table, rows) for table in tables), strict=True)
