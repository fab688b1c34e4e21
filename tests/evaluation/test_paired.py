"""The paired t-test beside scipy's, and where there is little to test."""

import math

import numpy as np
import pytest
from scipy import stats

from retdm.evaluation.paired import mean_and_sd, paired_t_test, t_test, two_sided_p


@pytest.mark.parametrize("freedom", range(1, 13))
def test_the_distribution_is_students(freedom):
    for t in (0, 0.01, 0.5, 1, 2.5, 12, 300):
        assert two_sided_p(t, freedom) == pytest.approx(2 * stats.t.sf(t, freedom), abs=1e-13)
        assert two_sided_p(-t, freedom) == two_sided_p(t, freedom)


@pytest.mark.parametrize("n", [3, 5, 10])
def test_equal_to_scipy(n):
    first, second = np.random.default_rng(n).normal(size=(2, n))
    found = paired_t_test(dict(enumerate(first)), dict(enumerate(second)))
    assert found.p == pytest.approx(stats.ttest_rel(first, second).pvalue, abs=1e-12)
    assert found.difference == pytest.approx(np.mean(first - second))
    assert mean_and_sd(list(first))[1] == pytest.approx(np.std(first, ddof=1))


def test_two_seeds_give_no_p():
    found = paired_t_test({0: 1.0, 1: 2.0}, {0: 0.5, 1: 1.4})
    assert (found.n, round(found.difference, 2)) == (2, 0.55)
    assert math.isnan(found.p)


def test_only_seeds_of_both_count():
    found = paired_t_test({0: 1.0, 1: 2.0, 7: 9.0}, {1: 1.5, 0: 0.0, 5: 3.0, 7: math.nan})
    assert found.n == 2
    assert found.difference == 0.75


def test_one_seed_proves_nothing_and_none_not_even_a_difference():
    one = paired_t_test({0: 2.0}, {0: 1.0})
    assert (one.difference, one.n) == (1.0, 1)
    assert math.isnan(one.p)
    none = paired_t_test({0: 1.0}, {1: 1.0})
    assert math.isnan(none.difference)
    assert math.isnan(none.p)


def test_equal_differences_prove_nothing():
    steps = {seed: 0.1 * seed for seed in range(5)}
    for by in (0.1, 0.0):
        found = paired_t_test({s: v + by for s, v in steps.items()}, steps)
        assert found.difference == pytest.approx(by)
        assert math.isnan(found.p)


@pytest.mark.parametrize("n", [3, 5])
def test_against_a_method_without_seeds_equal_to_scipys_one_sample_test(n):
    sample = dict(enumerate(np.random.default_rng(n).normal(size=n)))
    constant = {7: 0.3, 8: 0.3}  # other seeds: it has the same value under all
    expected = stats.ttest_1samp(list(sample.values()), 0.3)
    found = t_test(sample, constant, second_fixed=True)
    assert found.p == pytest.approx(expected.pvalue, abs=1e-12)
    assert found.difference == pytest.approx(np.mean(list(sample.values())) - 0.3)
    assert found.n == n
    mirrored = t_test(constant, sample, first_fixed=True)
    assert (mirrored.difference, mirrored.n) == (-found.difference, n)
    assert mirrored.p == pytest.approx(found.p)


def test_two_methods_without_seeds_have_a_difference_and_no_p():
    found = t_test({0: 0.7, 1: 0.7}, {0: 0.6, 1: 0.6}, first_fixed=True, second_fixed=True)
    assert found.difference == pytest.approx(0.1)
    assert math.isnan(found.p)


def test_without_a_constant_the_test_is_paired():
    first, second = {0: 1.0, 1: 2.0, 2: 4.0}, {0: 0.5, 1: 1.0, 3: 9.0}
    assert t_test(first, second) == paired_t_test(first, second)
