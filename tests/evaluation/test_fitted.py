"""Thresholds fitted on validation: a slow reference, ties, and what they do to the metrics."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from retdm.evaluation import evaluate, fit_thresholds

PAIRS = st.lists(st.tuples(st.integers(0, 8), st.booleans()), min_size=1, max_size=12)


def f1(predicted, targets):
    hits = sum(p and t for p, t in zip(predicted, targets, strict=True))
    return 2 * hits / (sum(predicted) + sum(targets))


@given(PAIRS)
def test_no_threshold_has_a_better_f1_and_no_wider_gap_an_equal_one(pairs):
    scores, targets = [s / 8 for s, _ in pairs], [t for _, t in pairs]
    (found,) = fit_thresholds(np.array([scores]).T, np.array([targets]).T, otherwise=0.25)
    if not any(targets):
        assert found == 0.25
        return
    ends = [0.0, *sorted(set(scores))]
    # Every way to cut: (F1, gap, threshold); the best F1 first, then the gap, then the threshold.
    cuts = [
        (f1([s >= high for s in scores], targets), high - low, (low + high) / 2)
        for low, high in zip(ends, ends[1:] or ends, strict=False)
    ]
    best = max(cuts)
    assert f1([s >= found for s in scores], targets) == best[0]
    assert found == best[2]


def test_every_threshold_separates_as_float32_scores_do():
    rng = np.random.default_rng(0)
    scores = rng.random((500, 3)).astype(np.float32)
    targets = rng.random((500, 3)) < scores
    found = fit_thresholds(scores, targets)
    tried = np.unique(scores)
    for label in range(3):
        best = max(f1(scores[:, label] >= cut, targets[:, label]) for cut in tried)
        assert f1(scores[:, label] >= found[label], targets[:, label]) == pytest.approx(best)


def test_the_family_equals_the_standard_one_where_thresholds_are_the_fixed_one():
    rng = np.random.default_rng(0)
    scores, targets = rng.random((50, 4)), rng.random((50, 4)) < 0.4
    plain = evaluate(scores, targets)
    fitted = evaluate(scores, targets, fitted=np.full(4, 0.5))
    for name in ("CP", "CR", "CF1", "CF1_mean", "OP", "OR", "OF1", "hamming_loss"):
        assert fitted[f"fitted.{name}"] == plain[name]
    assert {name: v for name, v in fitted.items() if not name.startswith("fitted.")} == plain
    assert not any(name.startswith("fitted.") for name in plain)


def test_a_rare_label_that_0_5_never_predicts_is_found():
    scores = np.array([[0.1], [0.2], [0.3], [0.4]])
    targets = np.array([[False], [False], [True], [True]])
    metrics = evaluate(scores, targets, fitted=fit_thresholds(scores, targets))
    assert metrics["CF1"] == 0
    assert metrics["fitted.CF1"] == 1


def test_both_policies_for_a_label_never_predicted():
    scores, targets = np.array([[0.9, 0.1]]), np.array([[True, True]])
    metrics = evaluate(scores, targets)
    assert metrics["CP"] == 0.5
    assert metrics["toolbox.CP"] == 1.0
