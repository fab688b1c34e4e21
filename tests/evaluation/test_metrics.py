"""The whole set of metrics: names, families, invariances, limits of time and memory."""

import math
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from sklearn import metrics as sk

from retdm.evaluation import ScoresError, evaluate
from retdm.evaluation.counts import count, precision_recall
from retdm.evaluation.toolbox import toolbox_metrics

STANDARD = {
    "mAP", "CP", "CR", "CF1", "CF1_mean", "OP", "OR", "OF1",
    "hamming_loss", "ranking_loss", "coverage", "one_error", "average_precision",
}  # fmt: skip
COUNTED = {"CP", "CR", "CF1", "CF1_mean", "OP", "OR", "OF1"}
TOOLBOX = STANDARD - {"mAP"}
SKIPPED = {"skipped.mAP", "skipped.one_error", "skipped.toolbox"}


def case(rows=60, labels=8, seed=0, decimals=1):
    rng = np.random.default_rng(seed)
    return rng.random((rows, labels)).round(decimals), rng.random((rows, labels)) < 0.3


def same(values):
    return pytest.approx(values, abs=1e-12, nan_ok=True)


def test_names():
    families = [f"{f}.{n}" for f in ("top3", "top3_thresholded") for n in COUNTED]
    expected = STANDARD | SKIPPED | set(families) | {f"toolbox.{n}" for n in TOOLBOX}
    values = evaluate(*case())
    assert set(values) == expected
    assert all(type(v) is float for v in values.values())


def test_standard_family_is_scikit_learns():
    scores, targets = case()
    targets[0], targets[1] = False, True  # a row without labels, one with all
    predicted = scores >= 0.5
    values = evaluate(scores, targets)
    expected = {
        "mAP": sk.average_precision_score(targets, scores, average="macro"),
        "CP": sk.precision_score(targets, predicted, average="macro", zero_division=0),
        "CR": sk.recall_score(targets, predicted, average="macro", zero_division=0),
        "CF1_mean": sk.f1_score(targets, predicted, average="macro", zero_division=0),
        "OP": sk.precision_score(targets, predicted, average="micro", zero_division=0),
        "OR": sk.recall_score(targets, predicted, average="micro", zero_division=0),
        "OF1": sk.f1_score(targets, predicted, average="micro", zero_division=0),
        "hamming_loss": sk.hamming_loss(targets, predicted),
        "ranking_loss": sk.label_ranking_loss(targets, scores),
        "coverage": sk.coverage_error(targets, scores),
        "average_precision": sk.label_ranking_average_precision_score(targets, scores),
    }
    assert {name: values[name] for name in expected} == same(expected)
    harmonic = 2 * values["CP"] * values["CR"] / (values["CP"] + values["CR"])
    assert values["CF1"] == same(harmonic)


def test_top_3_takes_three_labels_and_its_sibling_only_those_over_the_threshold():
    scores = np.array([[0.9, 0.8, 0.4, 0.1], [0.4, 0.3, 0.2, 0.1], [0.9, 0.8, 0.7, 0.6]])
    targets = np.array([[1, 0, 0, 1], [1, 0, 0, 0], [1, 1, 1, 1]], dtype=bool)
    values = evaluate(scores, targets)
    three = np.array([[1, 1, 1, 0]] * 3, dtype=bool)
    over = np.array([[1, 1, 0, 0], [0, 0, 0, 0], [1, 1, 1, 0]], dtype=bool)
    for family, predictions in (("top3", three), ("top3_thresholded", over)):
        expected = precision_recall(count(predictions, targets))
        assert {n: values[f"{family}.{n}"] for n in COUNTED} == same(expected)


@pytest.mark.parametrize("threshold", [0.0, 0.3, 0.5, 1.0])
def test_toolbox_family_sees_thresholded_predictions(threshold):
    scores, targets = case()
    values = evaluate(scores, targets, threshold=threshold)
    expected, skipped = toolbox_metrics(scores >= threshold, targets)
    assert {n: values[f"toolbox.{n}"] for n in TOOLBOX} == same(expected)
    assert values["skipped.toolbox"] == skipped


SHAPES = st.tuples(st.integers(1, 10), st.integers(1, 5))
CASES = SHAPES.flatmap(
    lambda shape: st.tuples(
        arrays(np.float32, shape, elements=st.floats(0, 1, width=32)), arrays(bool, shape)
    )
)


@given(CASES)
def test_every_value_is_in_its_range(tables):
    labels = tables[0].shape[1]
    for name, value in evaluate(*tables).items():
        low, high = 0, 1
        if name == "coverage":
            high = labels
        elif name == "toolbox.coverage":
            low, high = -1, labels - 1
        elif name.startswith("skipped."):
            high = max(tables[0].shape)
        assert math.isnan(value) or low <= value <= high, name


@given(CASES, st.randoms(use_true_random=False))
def test_row_order_changes_nothing(tables, random):
    order = random.sample(range(len(tables[0])), len(tables[0]))
    assert evaluate(tables[0][order], tables[1][order]) == same(evaluate(*tables))


def test_label_order_changes_only_what_says_so():
    scores, targets = case(decimals=6)
    values, turned = evaluate(scores, targets), evaluate(scores[:, ::-1], targets[:, ::-1])
    depends = {"toolbox.coverage", "toolbox.average_precision"}
    assert {n: turned[n] for n in values if n not in depends} == same(
        {n: v for n, v in values.items() if n not in depends}
    )
    assert all(values[n] != turned[n] for n in depends)


@given(CASES)
def test_ranking_metrics_see_only_the_order(tables):
    scores, targets = tables
    levels, rank = np.unique(scores, return_inverse=True)
    values = evaluate(scores, targets)
    turned = evaluate(rank.reshape(scores.shape) / len(levels), targets)
    for name in ("mAP", "ranking_loss", "coverage", "one_error", "average_precision", "top3.OF1"):
        assert turned[name] == same(values[name])


def test_perfect_scores_reach_the_best_values():
    _, targets = case(labels=9)
    targets[:, 0], targets[:, 1] = True, False  # neither empty nor full rows
    targets[0, 1] = True
    values = evaluate(targets.astype(float), targets)
    for name in STANDARD - {"coverage"}:
        assert values[name] == (
            0.0 if name in ("hamming_loss", "ranking_loss", "one_error") else 1
        )
    assert values["coverage"] == pytest.approx(targets.sum(axis=1).mean())


def test_what_was_left_out_is_counted():
    targets = np.array([[0, 0, 0], [1, 1, 0], [0, 1, 0]], dtype=bool)
    values = evaluate(np.full((3, 3), 0.5), targets)
    assert (values["skipped.mAP"], values["skipped.one_error"]) == (1, 1)
    assert values["skipped.toolbox"] == 1


def test_nothing_to_average_is_nan():
    values = evaluate(np.full((2, 3), 0.5), np.zeros((2, 3), dtype=bool))
    undefined = {n for n, v in values.items() if math.isnan(v)}
    assert undefined == {
        "mAP", "one_error",
        "toolbox.ranking_loss", "toolbox.one_error", "toolbox.average_precision",
    }  # fmt: skip


@pytest.mark.parametrize("threshold", [-0.1, 1.1, math.nan, math.inf])
def test_a_threshold_outside_0_to_1_is_an_error(threshold):
    with pytest.raises(ScoresError, match=r"threshold is .*; wanted a probability in \[0, 1\]"):
        evaluate(*case(), threshold=threshold)


def test_bad_scores_are_an_error_not_a_number():
    with pytest.raises(ScoresError, match="through a sigmoid"):
        evaluate([[1.5, 0.0]], [[1, 0]])


# Not ru_maxrss: that begins with the memory of the process that started this one.
COCO_SIZE = """
import json, time
import numpy as np
from retdm.evaluation import evaluate
rng = np.random.default_rng(0)
scores, targets = rng.random((40_504, 80)).round(3), rng.random((40_504, 80)) < 0.036
started = time.process_time()
evaluate(scores, targets)
seconds = time.process_time() - started
status = dict(line.split(":", 1) for line in open("/proc/self/status"))
print(json.dumps([seconds, int(status["VmHWM"].split()[0]) / 2**20]))
"""


@pytest.mark.slow
def test_coco_val_takes_less_than_10_s_of_cpu_and_1_gib():
    done = subprocess.run([sys.executable, "-c", COCO_SIZE], capture_output=True, check=True)
    seconds, gib = map(float, done.stdout.decode().strip("[]\n").split(","))
    assert seconds < 10
    assert gib < 1
