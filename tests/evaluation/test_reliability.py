"""Calibration: scores in bins against the share of them that is true."""

import numpy as np
import pytest
from hypothesis import given
from sklearn.calibration import calibration_curve

from retdm.evaluation.reliability import reliability
from tests.evaluation.conftest import cases

BINS = 5


def reference(scores, targets):
    """Mean score, share and number of the cells of each bin, and the mean distance, in loops."""
    bins = [[] for _ in range(BINS)]
    for s_row, t_row in zip(scores.tolist(), targets.tolist(), strict=True):
        for s, t in zip(s_row, t_row, strict=True):
            bins[min(int(s * BINS), BINS - 1)].append((s, t))
    rows, error = [], 0.0
    for cells in bins:
        score = sum(s for s, _ in cells) / len(cells) if cells else float("nan")
        share = sum(t for _, t in cells) / len(cells) if cells else float("nan")
        rows.append((score, share, len(cells)))
        error += len(cells) * abs(score - share) if cells else 0.0
    return rows, error / sum(map(len, bins))


@given(cases(rows=20, labels=(1, 4)))
def test_equal_to_the_reference(case):
    scores, targets = case
    rows, error = reference(scores, targets)
    found = reliability(scores, targets, bins=BINS)
    for bin_, (score, share, cells) in enumerate(rows):
        assert found.score[bin_] == pytest.approx(score, abs=1e-12, nan_ok=True)
        assert found.share[bin_] == pytest.approx(share, abs=1e-12, nan_ok=True)
        assert found.cells[bin_] == cells
    assert found.error == pytest.approx(error, abs=1e-12)


def test_equal_to_scikit_learn():
    rng = np.random.default_rng(0)
    scores = rng.random((50, 4))
    targets = rng.random((50, 4)) < scores**2
    share, score = calibration_curve(targets.ravel(), scores.ravel(), n_bins=10)
    found = reliability(scores, targets)
    assert found.share.tolist() == pytest.approx(share.tolist())
    assert found.score.tolist() == pytest.approx(score.tolist())


def test_one_belongs_to_the_last_bin_and_empty_bins_have_no_value():
    found = reliability(np.array([[0.0, 1.0]]), np.array([[False, True]]), bins=3)
    assert found.cells.tolist() == [1, 0, 1]
    assert np.isnan(found.share[1])
    assert found.error == 0
