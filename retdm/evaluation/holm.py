"""Several tests at once: p-values corrected by Holm's step-down procedure.

With m tests of nothing at level .05, one is found "significant" with a probability of up to
1 - .95^m; at Holm's corrected values with one of at most .05, however the tests depend on one
another. It is never weaker than multiplying by m (Bonferroni). SciPy corrects for the false
discovery rate only (`scipy.stats.false_discovery_control`), which promises less.
"""

import math
from collections.abc import Mapping


def holm(p_values: Mapping[str, float]) -> dict[str, float]:
    """Corrected p-value of each test.

    With the m values in rising order, the i-th (from 0) becomes the largest of (m - j) p_j over
    j <= i, and 1 at most.

    Args:
        p_values: Name of each test and its p-value; NaN for one that could not be made, which
            stays NaN and does not count.

    Example:
        >>> holm({"a": 0.01, "b": 0.03, "c": 0.02, "d": math.nan})
        {'a': 0.03, 'b': 0.04, 'c': 0.04, 'd': nan}
    """
    rising = sorted((p, name) for name, p in p_values.items() if not math.isnan(p))
    corrected: dict[str, float] = {}
    largest = 0.0
    for done, (p, name) in enumerate(rising):
        largest = max(largest, min(1.0, (len(rising) - done) * p))
        corrected[name] = largest
    return {name: corrected.get(name, math.nan) for name in p_values}
