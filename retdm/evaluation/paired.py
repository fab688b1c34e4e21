"""Mean, spread and a t-test of one metric over seeds.

Two methods that share a seed share split, weights at the start, order and crops (up to a stage
that one of them lacks: later epochs then have other numbers), so the test pairs them by seed: it
looks at the differences only. A method that does not depend on the seed has one value, a constant
that the other one's values are tested against. All this is about the noise of training on one
split: the same test photos under every seed say nothing of other photos.

The t distribution is summed in closed form (Abramowitz & Stegun 26.7.3 and 26.7.4), which is exact
for the whole degrees of freedom that these tests have.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

SIGNIFICANT = 0.05
FEWEST = 3
"""Seeds with a p: two differences are alike by chance too often to tell a spread."""


@dataclass(frozen=True, slots=True)
class Paired:
    """What a paired t-test found."""

    difference: float
    """Mean of first minus second over the common seeds; NaN without any."""
    p: float
    """Two-sided; NaN with fewer than two common seeds, and where all differences are alike."""
    n: int
    """Common seeds."""


def mean_and_sd(values: Sequence[float]) -> tuple[float, float]:
    """Mean and sample standard deviation (n - 1); NaN where there are too few values.

    Example:
        >>> mean_and_sd([1.0, 2.0, 3.0])
        (2.0, 1.0)
    """
    if not values:
        return math.nan, math.nan
    mean = math.fsum(values) / len(values)
    if len(values) == 1:
        return mean, math.nan
    return mean, math.sqrt(math.fsum((v - mean) ** 2 for v in values) / (len(values) - 1))


def paired_t_test(first: Mapping[int, float], second: Mapping[int, float]) -> Paired:
    """Test whether two methods differ, by the seeds that both have.

    Fewer than `FEWEST` differences give no p, nor do those that are all alike, up to rounding:
    without a spread there is nothing to hold them against.

    Args:
        first: Seed to value; undefined values (NaN) are left out.
        second: Of the other method.

    Example:
        >>> found = paired_t_test({0: 0.93, 1: 0.95, 2: 0.94}, {0: 0.92, 1: 0.93, 2: 0.93})
        >>> round(found.difference, 4), round(found.p, 4), found.n
        (0.0133, 0.0572, 3)
    """
    differences = [
        first[seed] - second[seed]
        for seed in sorted(first.keys() & second.keys())
        if math.isfinite(first[seed] - second[seed])
    ]
    n = len(differences)
    mean, sd = mean_and_sd(differences)
    if n < FEWEST:
        return Paired(mean, math.nan, n)
    if sd <= 1e-12 * max(abs(d) for d in differences):
        return Paired(mean, math.nan, n)
    return Paired(mean, two_sided_p(mean / (sd / math.sqrt(n)), n - 1), n)


def t_test(
    first: Mapping[int, float],
    second: Mapping[int, float],
    *,
    first_fixed: bool = False,
    second_fixed: bool = False,
) -> Paired:
    """Test whether two methods differ: paired by seed, or against a constant.

    Args:
        first: Seed to value.
        second: Of the other method.
        first_fixed: Its values are one value that no seed changes: each of the other's seeds is
            compared with it, which is a one-sample t-test. If both are fixed, there is no p.
        second_fixed: Likewise.

    Example:
        >>> constant = {0: 0.92, 1: 0.92}
        >>> found = t_test({0: 0.93, 1: 0.95, 2: 0.94}, constant, second_fixed=True)
        >>> round(found.difference, 4), round(found.p, 4), found.n
        (0.02, 0.0742, 3)
    """
    if second_fixed and second:
        second = dict.fromkeys(first, next(iter(second.values())))
    elif first_fixed and first:
        first = dict.fromkeys(second, next(iter(first.values())))
    return paired_t_test(first, second)


def two_sided_p(t: float, freedom: int) -> float:
    """Probability that |T| is larger than |t|, for Student's T with `freedom` degrees of freedom.

    Example:
        >>> round(two_sided_p(2.776, 4), 3)
        0.05
    """
    assert freedom >= 1
    angle = math.atan(abs(t) / math.sqrt(freedom))
    sine, cosine_squared = math.sin(angle), math.cos(angle) ** 2
    odd = freedom % 2
    total, term = 0.0, math.cos(angle) if odd else 1.0
    for step in range(2 + odd, freedom + 1, 2):
        total += term
        term *= cosine_squared * (step - 1) / step
    inside = (angle + sine * total) * 2 / math.pi if odd else sine * total
    return min(1.0, max(0.0, 1.0 - inside))
