"""Corrected p-values beside the closed test that they are a short cut for."""

import math
from itertools import combinations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from retdm.evaluation.holm import holm


def closed_test(p_values):
    """A test counts only if every group of tests that it is in fails as a group (Bonferroni)."""
    names = list(p_values)
    groups = [group for n in range(1, len(names) + 1) for group in combinations(names, n)]
    worst = {
        group: min(1.0, len(group) * min(p_values[name] for name in group)) for group in groups
    }
    return {name: max(p for group, p in worst.items() if name in group) for name in names}


@given(st.lists(st.floats(0, 1), min_size=1, max_size=6))
def test_equal_to_the_closed_test_over_all_groups(values):
    p_values = {str(number): p for number, p in enumerate(values)}
    assert holm(p_values) == pytest.approx(closed_test(p_values))


def test_one_test_is_not_corrected():
    assert holm({"a": 0.04}) == {"a": 0.04}


def test_tests_that_could_not_be_made_do_not_count():
    found = holm({"a": 0.04, "b": math.nan, "c": 0.02})
    assert (found["a"], found["c"]) == (0.04, 0.04)
    assert math.isnan(found["b"])
    assert list(found) == ["a", "b", "c"]


def test_no_tests_have_no_values():
    assert holm({}) == {}
