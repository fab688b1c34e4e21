"""Average precision of each label, the mAP and its baseline."""

import math

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import average_precision_score

from retdm.evaluation.per_label import (
    average_precision_per_label,
    label_frequency_map,
    mean_average_precision,
)
from tests.evaluation.conftest import cases

CASES = cases(rows=20, labels=(1, 5))


def reference(scores, targets):
    """Steps of the precision-recall curve at each distinct score; NaN without positives."""
    positives = sum(map(int, targets))
    if not positives:
        return math.nan
    area, recall = 0.0, 0.0
    for level in sorted(set(scores.tolist()), reverse=True):
        over = [y for s, y in zip(scores, targets, strict=True) if s >= level]
        hits = sum(map(int, over))
        area += (hits / positives - recall) * hits / len(over)
        recall = hits / positives
    return area


@given(CASES)
def test_equal_to_scikit_learn_and_the_reference(case):
    scores, targets = case
    ours = average_precision_per_label(scores, targets)
    for s, y, value in zip(scores.T, targets.T, ours, strict=True):
        assert value == pytest.approx(reference(s, y), abs=1e-12, nan_ok=True)
        if y.any():
            assert value == pytest.approx(average_precision_score(y, s), abs=1e-12)


@given(CASES)
def test_constant_scores_reach_the_baseline(case):
    targets = case[1]
    constant = average_precision_per_label(np.full(targets.shape, 0.3), targets)
    expected = mean_average_precision(constant)[0]
    assert label_frequency_map(targets) == pytest.approx(expected, abs=1e-12, nan_ok=True)


def test_labels_without_positives_are_left_out_and_counted():
    targets = np.array([[1, 0, 0], [0, 0, 1]], dtype=bool)
    values = average_precision_per_label(np.array([[0.9, 0.9, 0.9], [0.1, 0.1, 0.1]]), targets)
    assert np.isnan(values).tolist() == [False, True, False]
    assert mean_average_precision(values) == (0.75, 1)
    assert label_frequency_map(targets) == 0.5


def test_nothing_to_average_is_nan():
    targets = np.zeros((2, 2), dtype=bool)
    value, skipped = mean_average_precision(average_precision_per_label(targets * 0.5, targets))
    assert math.isnan(value)
    assert skipped == 2
    assert math.isnan(label_frequency_map(targets))
