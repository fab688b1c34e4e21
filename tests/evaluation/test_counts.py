"""Precision, recall and F1 against scikit-learn and against loops over labels."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn.metrics import (
    f1_score,
    precision_score,
    recall_score,
)
from sklearn.metrics import (
    hamming_loss as sklearn_hamming_loss,
)

from retdm.evaluation.counts import (
    count,
    hamming_loss,
    over_threshold,
    precision_recall,
    top_k,
)

SHAPES = st.tuples(st.integers(1, 12), st.integers(2, 6))
TABLES = SHAPES.flatmap(lambda shape: st.tuples(*[arrays(bool, shape)] * 2))


def reference(predictions, targets, undefined_precision):
    """Label by label and cell by cell."""
    precisions, recalls, f1s = [], [], []
    all_hits = all_predicted = all_positives = 0
    for h, y in zip(predictions.T, targets.T, strict=True):
        hits = sum(1 for a, b in zip(h, y, strict=True) if a and b)
        predicted, positives = sum(map(int, h)), sum(map(int, y))
        precisions.append(hits / predicted if predicted else undefined_precision)
        recalls.append(hits / positives if positives else 0.0)
        f1s.append(2 * hits / (predicted + positives) if predicted + positives else 0.0)
        all_hits, all_predicted = all_hits + hits, all_predicted + predicted
        all_positives += positives
    cp, cr = sum(precisions) / len(precisions), sum(recalls) / len(recalls)
    total = all_predicted + all_positives
    return {
        "CP": cp,
        "CR": cr,
        "CF1": 2 / (1 / cp + 1 / cr) if cp and cr else 0.0,
        "CF1_mean": sum(f1s) / len(f1s),
        "OP": all_hits / all_predicted if all_predicted else undefined_precision,
        "OR": all_hits / all_positives if all_positives else 0.0,
        "OF1": 2 * all_hits / total if total else 0.0,
    }


@given(TABLES)
def test_equal_to_scikit_learn(tables):
    h, y = tables
    macro = {"average": "macro", "zero_division": 0}
    micro = {"average": "micro", "zero_division": 0}
    ours = precision_recall(count(h, y))
    assert ours == pytest.approx(
        {
            "CP": precision_score(y, h, **macro),
            "CR": recall_score(y, h, **macro),
            "CF1": ours["CF1"],  # scikit-learn has no harmonic mean of CP and CR
            "CF1_mean": f1_score(y, h, **macro),
            "OP": precision_score(y, h, **micro),
            "OR": recall_score(y, h, **micro),
            "OF1": f1_score(y, h, **micro),
        },
        abs=1e-12,
    )
    assert hamming_loss(h, y) == pytest.approx(sklearn_hamming_loss(y, h), abs=1e-12)


@given(TABLES, st.sampled_from([0.0, 1.0]))
def test_equal_to_the_reference(tables, undefined):
    expected = reference(*tables, undefined)
    ours = precision_recall(count(*tables), undefined_precision=undefined)
    assert ours == pytest.approx(expected, abs=1e-12)


@given(TABLES)
def test_mean_f1_is_never_above_the_harmonic_mean(tables):
    values = precision_recall(count(*tables))
    assert values["CF1_mean"] <= values["CF1"] + 1e-12


def test_one_label_is_enough():
    h, y = np.array([[True], [True]]), np.array([[True], [False]])
    values = precision_recall(count(h, y))
    assert (values["CP"], values["OP"], values["CR"], values["OR"]) == (0.5, 0.5, 1.0, 1.0)


def test_a_score_on_the_threshold_is_predicted():
    assert over_threshold(np.array([[0.5, np.nextafter(0.5, 0)]]), 0.5).tolist() == [[True, False]]


def test_top_k_takes_the_earlier_of_equal_scores():
    scores = np.array([[0.1, 0.7, 0.1, 0.1, 0.9], [0.5] * 5])
    expected = [[1, 1, 0, 0, 1], [1, 1, 1, 0, 0]]
    assert top_k(scores, 3).astype(int).tolist() == expected


def test_top_k_of_fewer_labels_is_all_of_them():
    assert top_k(np.array([[0.1, 0.0]], dtype=np.float32), 3).tolist() == [[True, True]]
