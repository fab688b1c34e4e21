"""Ranking metrics: scikit-learn's values with ties, empty and full rows; one_error by loops."""

import math

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import (
    coverage_error,
    label_ranking_average_precision_score,
    label_ranking_loss,
)

from retdm.evaluation import ranking
from retdm.evaluation.ranking import rank
from tests.evaluation.conftest import cases

CASES = cases(rows=12, labels=(2, 7))


def one_error_reference(scores, targets):
    """Wrong unless every label that shares the image's best score is true."""
    wrong = seen = 0
    for s, y in zip(scores, targets, strict=True):
        if any(y):
            seen += 1
            wrong += any(not y[c] for c in range(len(s)) if s[c] == max(s))
    return wrong / seen if seen else math.nan


def check(scores, targets):
    ours = rank(scores, targets)
    # scikit-learn's masked arrays overflow in float16; the conversion keeps all ties.
    scores = scores.astype(np.float64)
    exact = lambda value: pytest.approx(value, abs=1e-12)
    assert ours.ranking_loss == exact(label_ranking_loss(targets, scores))
    assert ours.coverage == exact(coverage_error(targets, scores))
    lrap = label_ranking_average_precision_score(targets, scores)
    assert ours.average_precision == exact(lrap)
    assert ours.one_error == pytest.approx(one_error_reference(scores, targets), nan_ok=True)
    assert ours.skipped_one_error == sum(1 for y in targets if not any(y))


@given(CASES)
def test_equal_to_scikit_learn(case):
    check(*case)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_every_floating_type(dtype):
    rng = np.random.default_rng(0)
    scores = rng.random((50, 9)).round(1).astype(dtype)
    check(scores, rng.random((50, 9)) < 0.3)


def test_blocks_change_nothing(monkeypatch):
    rng = np.random.default_rng(1)
    scores, targets = rng.random((50, 9)).round(1), rng.random((50, 9)) < 0.3
    monkeypatch.setattr(ranking, "_BLOCK_CELLS", 9 * 7)
    assert len(list(ranking.blocks(50, 9))) == 8
    check(scores, targets)


def test_constant_scores_earn_nothing():
    values = rank(np.full((2, 4), 0.5), np.array([[1, 0, 0, 0], [1, 1, 1, 0]], dtype=bool))
    assert (values.ranking_loss, values.coverage, values.one_error) == (1.0, 4.0, 1.0)
    assert values.average_precision == pytest.approx((1 / 4 + 3 / 4) / 2)


def test_a_tie_at_the_top_counts_only_if_all_of_it_is_true():
    scores = np.array([[0.9, 0.9, 0.1]] * 3)
    targets = np.array([[1, 1, 0], [1, 0, 0], [0, 1, 1]], dtype=bool)
    assert rank(scores, targets).one_error == pytest.approx(2 / 3)


def test_rows_without_labels_and_with_all():
    scores = np.array([[0.1, 0.2, 0.3]] * 2)
    values = rank(scores, np.array([[0, 0, 0], [1, 1, 1]], dtype=bool))
    assert (values.ranking_loss, values.average_precision) == (0.0, 1.0)
    assert values.coverage == 1.5
    assert (values.one_error, values.skipped_one_error) == (0.0, 1)


def test_no_labels_at_all_leave_one_error_undefined():
    values = rank(np.array([[0.1, 0.2]]), np.zeros((1, 2), dtype=bool))
    assert math.isnan(values.one_error)
    assert (values.coverage, values.skipped_one_error) == (0.0, 1)


def test_one_label():
    values = rank(np.array([[0.1], [0.2]]), np.array([[True], [False]]))
    assert (values.ranking_loss, values.coverage, values.average_precision) == (0.0, 0.5, 1.0)
