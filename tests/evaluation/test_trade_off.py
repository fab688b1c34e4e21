"""Precision against recall at every threshold."""

import numpy as np
import pytest
from hypothesis import given
from sklearn.metrics import precision_recall_curve

from retdm.evaluation.per_label import average_precision_per_label
from retdm.evaluation.trade_off import trade_off
from tests.evaluation.conftest import cases


def reference(scores, targets):
    """Threshold, precision and recall at each distinct score, the highest first, in loops."""
    out = []
    for level in sorted(set(scores.tolist()), reverse=True):
        over = [bool(t) for s, t in zip(scores, targets, strict=True) if s >= level]
        out.append((level, sum(over) / len(over), sum(over) / sum(map(bool, targets))))
    return out


@given(cases(rows=20, labels=(1, 3)))
def test_equal_to_scikit_learn_and_the_reference(case):
    scores, targets = (table.ravel() for table in case)
    found = trade_off(scores, targets)
    if not targets.any():
        assert found is None
        return
    ours = list(zip(found.threshold, found.precision, found.recall, strict=True))
    assert ours == pytest.approx(np.array(reference(scores, targets)))
    precision, recall, thresholds = precision_recall_curve(
        targets, scores, drop_intermediate=False
    )
    assert found.precision.tolist() == pytest.approx(precision[-2::-1].tolist())
    assert found.recall.tolist() == pytest.approx(recall[-2::-1].tolist())
    assert found.threshold.tolist() == pytest.approx(thresholds[::-1].tolist())
    area = np.sum(np.diff(found.recall, prepend=0) * found.precision)
    average = average_precision_per_label(scores[:, None], targets[:, None])[0]
    assert area == pytest.approx(average)


def test_a_thinned_curve_is_short_and_keeps_its_ends():
    rng = np.random.default_rng(0)
    scores, targets = rng.random(5000), rng.random(5000) < 0.3
    whole = trade_off(scores, targets)
    thin = whole.thinned(100)
    assert len(whole.recall) == 5000
    assert 90 < len(thin.recall) <= 100
    assert (thin.recall[-1], thin.threshold[0]) == (1, whole.threshold[0])
    points = set(zip(whole.recall, whole.precision, strict=True))
    assert points >= set(zip(thin.recall, thin.precision, strict=True))
    assert np.abs(np.diff(thin.recall)).max() < 0.02
    assert thin.thinned(100) is thin
