"""Precision and average precision at k, against loops."""

import numpy as np
import pytest

from retdm.retrieval.precision import average_precision_at, precision_at


def reference(flags, existing):
    """AP@k of one list, as it is defined."""
    total = 0.0
    for place in range(1, len(flags) + 1):
        if flags[place - 1]:
            total += sum(flags[:place]) / place
    return total / min(existing, len(flags))


@pytest.mark.parametrize("k", [1, 3, 8])
def test_equal_to_loops(k):
    rng = np.random.default_rng(k)
    flags = rng.random((40, k)) < 0.4
    existing = flags.sum(axis=1) + rng.integers(1, 5, 40)
    expected = [reference(row.tolist(), int(n)) for row, n in zip(flags, existing, strict=True)]
    np.testing.assert_allclose(average_precision_at(flags, existing), expected, rtol=1e-12)
    np.testing.assert_allclose(precision_at(flags), [sum(row) / k for row in flags.tolist()])


def test_a_list_that_begins_with_all_that_there_is_is_perfect():
    flags = np.array([[True, True, False, False], [True, True, True, True]])
    assert average_precision_at(flags, np.array([2, 9])).tolist() == [1.0, 1.0]
