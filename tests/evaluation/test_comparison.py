"""What a comparison says of known values."""

import math

import numpy as np
import pytest

from retdm.evaluation import summarize


def result(data="scene", versions=None, **metrics):
    return {
        "metrics": {"test": metrics},
        "data": data,
        "data_digest": "d" * 64,
        "reading": {"score": "x"},
        "versions": {"torch": "2", **(versions or {})},
    }


def seeds(metric, values, **more):
    return {seed: result(**{metric: value}, **more) for seed, value in enumerate(values)}


def summary(columns, metric="mAP", **more):
    results = {name: seeds(metric, values) for name, values in columns.items()}
    return summarize({name: name for name in columns}, results, **more)


def test_mean_and_standard_deviation_of_the_seeds():
    figures = summary({"bce": [0.1, 0.2, 0.6]})["columns"]["bce"]["metrics"]["mAP"]
    assert figures["mean"] == pytest.approx(0.3)
    assert figures["sd"] == pytest.approx(np.std([0.1, 0.2, 0.6], ddof=1))
    assert (figures["n"], figures["values"]) == (3, {"0": 0.1, "1": 0.2, "2": 0.6})


def test_the_best_is_supported_only_by_a_paired_test():
    clear = summary({"bce": [0.1, 0.5, 0.9], "retdm": [0.21, 0.6, 1.0]})
    assert clear["best"]["mAP"]["column"] == "retdm"
    assert clear["best"]["mAP"]["supported"]
    vague = summary({"bce": [0.1, 0.5, 0.9], "retdm": [0.9, 0.6, 0.1]})
    assert vague["best"]["mAP"]["column"] == "retdm"
    assert not vague["best"]["mAP"]["supported"]
    assert not summary({"bce": [0.1], "retdm": [0.9]})["best"]["mAP"]["supported"]


def test_less_is_better_where_it_is():
    found = summary({"bce": [0.1, 0.2], "retdm": [0.3, 0.4]}, metric="toolbox.ranking_loss")
    assert found["best"]["toolbox.ranking_loss"]["column"] == "bce"


def test_a_best_mean_over_other_seeds_is_not_supported_against_the_pairs():
    results = {"a": seeds("mAP", [0.5, 0.5]), "b": seeds("mAP", [0.6, 0.6])}
    results["a"] |= {5: result(mAP=1.0), 6: result(mAP=1.0)}
    best = summarize({"a": "bce", "b": "retdm"}, results)["best"]["mAP"]
    assert best["column"] == "a"
    assert not best["supported"]


def test_every_metric_is_tested_against_the_baseline_but_not_the_baseline_itself():
    found = summary({"bce": [0.1, 0.5, 0.9], "retdm": [0.21, 0.6, 1.0]}, baseline="bce")
    figures = found["columns"]["retdm"]["metrics"]["mAP"]
    assert figures["difference"] == pytest.approx(0.31 / 3)
    assert figures["p"] < 0.05
    assert figures["pairs"] == 3
    assert "p" not in found["columns"]["bce"]["metrics"]["mAP"]


def test_undefined_values_and_counts_are_left_out():
    results = {0: result(mAP=None, OF1=0.5), 1: result(mAP=0.25, OF1=math.nan)}
    results[1]["metrics"]["test"]["skipped.mAP"] = 3.0
    metrics = summarize({"bce": "bce"}, {"bce": results})["columns"]["bce"]["metrics"]
    assert metrics["mAP"]["values"] == {"1": 0.25}
    assert metrics["OF1"]["values"] == {"0": 0.5}
    assert "skipped.mAP" not in metrics


@pytest.mark.parametrize(
    ("method", "data", "row", "why_not"),
    [
        ("retdm", "scene", "RETDM", ""),
        ("asl", "scene", "", "not in the paper"),
        ("retdm-one-way", "scene", "RETDM (one-way)", "not in table I"),
        ("retdm", "coco3k", "RETDM", "the paper has no table for coco3k"),
        ("lmmo-knn", "scene", "LMMO-kNN", "no one set of predictions gives this row"),
        ("c2ae", "coco2014", "C2AE", "neither loss column"),
    ],
)
def test_the_paper_stands_beside_where_it_can_be_compared(method, data, row, why_not):
    results = {"x": seeds("mAP", [0.5], data=data)}
    paper = summarize({"x": method}, results)["columns"]["x"]["paper"]
    assert paper["row"] == row
    assert why_not in paper["why_not"]
    assert bool(paper["values"]) == (not why_not)


def test_what_all_seeds_have_alike_is_one_result_and_proves_nothing():
    found = summary({"bce": [0.1, 0.11, 0.12], "mlspl": [0.5, 0.5, 0.5]}, baseline="bce")
    assert found["columns"]["mlspl"]["deterministic"]
    assert not found["columns"]["bce"]["deterministic"]
    figures = found["columns"]["mlspl"]["metrics"]["mAP"]
    assert figures["difference"] == pytest.approx(0.39)
    assert math.isnan(figures["p"])
    assert found["best"]["mAP"]["column"] == "mlspl"
    assert not found["best"]["mAP"]["supported"]
    one = summary({"bce": [0.1]}, baseline="bce")
    assert not one["columns"]["bce"]["deterministic"]


def test_runs_under_other_readings_or_workers_are_told():
    results = {"x": seeds("mAP", [0.5, 0.6])}
    results["x"][0] |= {"world_size": 1}
    results["x"][1] |= {"world_size": 2, "reading": {"score": "y", "ways": "two"}}
    assert summarize({"x": "retdm"}, results)["cautions"] == [
        "x: its runs took several readings of score (x / y)",
        "x: its runs took several readings of ways (not stated / two)",
        "x: its runs had 1 or 2 workers",
    ]
    assert summarize({"x": "retdm"}, {"x": seeds("mAP", [0.5, 0.6])})["cautions"] == []


def test_nothing_yet_is_a_summary_too():
    found = summarize({"bce": "bce"}, {})
    assert found["columns"]["bce"]["metrics"] == {}
    assert found["best"] == {}


def test_mixed_versions_are_told():
    results = {"x": seeds("mAP", [0.5]) | {1: result(mAP=0.5, versions={"torch": "3"})}}
    assert summarize({"x": "bce"}, results)["versions"]["torch"] == ["2", "3"]
