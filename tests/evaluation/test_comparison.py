"""What a comparison says of known values."""

import math

import numpy as np
import pytest
from scipy import stats

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


def test_what_all_seeds_have_alike_is_one_result_that_the_others_are_tested_against():
    columns = {"bce": [0.1, 0.11, 0.12], "mlspl": [0.5, 0.5, 0.5]}
    for baseline, other, sign in (("bce", "mlspl", 1), ("mlspl", "bce", -1)):
        found = summary(columns, baseline=baseline)
        assert found["columns"]["mlspl"]["deterministic"]
        assert not found["columns"]["bce"]["deterministic"]
        figures = found["columns"][other]["metrics"]["mAP"]
        assert figures["difference"] == pytest.approx(sign * 0.39)
        assert figures["p"] == pytest.approx(stats.ttest_1samp(columns["bce"], 0.5).pvalue)
    assert found["best"]["mAP"]["column"] == "mlspl"
    assert found["best"]["mAP"]["supported"]
    one = summary({"bce": [0.1]}, baseline="bce")
    assert not one["columns"]["bce"]["deterministic"]


def test_two_results_that_no_seed_changes_prove_nothing():
    found = summary({"lmmo-knn": [0.4, 0.4], "mlspl": [0.5, 0.5]}, baseline="lmmo-knn")
    figures = found["columns"]["mlspl"]["metrics"]["mAP"]
    assert figures["difference"] == pytest.approx(0.1)
    assert math.isnan(figures["p"])
    assert math.isnan(figures["p_holm"])
    assert found["best"]["mAP"]["column"] == "mlspl"
    assert not found["best"]["mAP"]["supported"]


def test_p_values_are_corrected_over_the_columns_tested_in_a_metric():
    columns = {"bce": [0.1, 0.5, 0.9], "a": [0.21, 0.6, 1.0], "b": [0.3, 0.5, 0.8]}
    columns["same"] = columns["bce"]  # differences that are all 0 are no test
    found = summary(columns, baseline="bce")["columns"]
    figures = {name: found[name]["metrics"]["mAP"] for name in ("a", "b", "same")}
    p = {name: own["p"] for name, own in figures.items()}
    assert p["a"] < 0.05 < p["b"]
    assert figures["a"]["p_holm"] == pytest.approx(2 * p["a"])
    assert figures["b"]["p_holm"] == pytest.approx(max(p["b"], 2 * p["a"]))
    assert math.isnan(figures["same"]["p_holm"])


def test_a_column_equal_to_the_baseline_is_not_taken_for_it():
    """Columns of one cell share their result, the same object."""
    results = {name: seeds("mAP", [0.1, 0.2]) for name in ("bce", "asl")}
    results["twin"] = results["bce"]
    names = {name: "bce" for name in results}
    found = summarize(names, results, baseline="bce")["columns"]
    assert found["twin"]["metrics"]["mAP"]["difference"] == 0
    assert "difference" not in found["bce"]["metrics"]["mAP"]


def test_published_rows_without_a_column_are_told_too():
    results = {"x": seeds("mAP", [0.5]), "y": {}}
    rows = summarize({"x": "retdm", "y": "center"}, results)["other_rows"]
    said = [line.partition(":")[0] for line in rows]
    assert said == ["CL", "BCE", "LMMO-kNN, MLSPL", "C2AE"]
    assert summarize({"x": "retdm"}, {"x": seeds("mAP", [0.5], data="mine")})["other_rows"] == []


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


def test_mixed_versions_are_told_for_each_column():
    results = {
        "x": seeds("mAP", [0.5]) | {1: result(mAP=0.5, versions={"torch": "3", "timm": "1"})},
        "y": seeds("mAP", [0.5]),
        "z": {},
    }
    found = summarize({"x": "bce", "y": "asl", "z": "warp"}, results)
    assert found["versions"] == {"torch": ["2", "3"], "timm": ["1"]}
    assert {name: own["versions"] for name, own in found["columns"].items()} == {
        "x": {"torch": ["2", "3"], "timm": ["1", "not recorded"]},
        "y": {"torch": ["2"], "timm": ["not recorded"]},
        "z": {},
    }


def test_equal_versions_are_not_worth_a_word():
    results = {"x": seeds("mAP", [0.5, 0.6]), "y": seeds("mAP", [0.5])}
    found = summarize({"x": "bce", "y": "asl"}, results)
    assert [own["versions"] for own in found["columns"].values()] == [{}, {}]


def test_results_that_recorded_no_versions_are_summarized():
    old = result(mAP=0.5)
    del old["versions"]
    found = summarize({"x": "bce"}, {"x": {0: old}})
    assert (found["versions"], found["columns"]["x"]["versions"]) == ({}, {})
    mixed = summarize({"x": "bce"}, {"x": {0: old, 1: result(mAP=0.5)}})
    assert mixed["columns"]["x"]["versions"] == {"torch": ["2", "not recorded"]}
