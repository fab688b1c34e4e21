"""The content of compare.json, from runs that ended in every way."""

import json

import pytest

from retdm.evaluation import EndedRun, compare_content, strict_json, summarize

COLUMNS = {"bce": "bce", "twin": "bce", "retdm": "retdm"}


def result(value):
    return {
        "metrics": {"test": {"mAP": value}},
        "data": "scene",
        "data_digest": "d" * 64,
        "reading": {},
    }


def ended(cell, columns, seed, how="trained", value=None, error=""):
    own = None if value is None else result(value)
    return EndedRun(cell, f"{cell}, seed {seed}", columns, seed, how, 12.345, own, error)


RUNS = [
    ended("stage1-s0", (), 0, value=0.5),
    ended("bce-s0", ("bce", "twin"), 0, "reused", 0.5),
    ended("bce-s1", ("bce", "twin"), 1, value=0.6),
    ended("retdm-s0", ("retdm",), 0, value=0.7),
    ended("retdm-s1", ("retdm",), 1, "failed", error="diverged"),
]


def content(runs, wanted=4):
    return compare_content("t", COLUMNS, [0, 1], runs, wanted=wanted, baseline="bce")


def test_every_column_of_a_run_shows_its_result_and_shared_stages_none():
    found = content(RUNS)
    both = {0: result(0.5), 1: result(0.6)}
    results = {"bce": both, "twin": both, "retdm": {0: result(0.7)}}
    expected = summarize(COLUMNS, results, baseline="bce")
    same = strict_json({key: found[key] for key in expected})
    assert same == strict_json(expected)
    assert (found["run"], found["seeds"]) == ("t", [0, 1])


def test_failures_are_named_and_leave_it_incomplete():
    found = content(RUNS)
    assert found["complete"] is False
    assert found["failures"] == [
        {"cell": "retdm-s1", "title": "retdm-s1, seed 1", "error": "diverged"}
    ]


@pytest.mark.parametrize(("wanted", "complete"), [(3, True), (4, False)])
def test_it_is_complete_when_all_wanted_runs_have_results(wanted, complete):
    """A shared stage is no result that a column waits for."""
    assert content(RUNS[:4], wanted)["complete"] is complete


def test_all_runs_are_listed_in_the_order_of_their_ends():
    cells = json.loads(strict_json(content(RUNS)))["cells"]
    assert [cell["cell"] for cell in cells] == [run.cell for run in RUNS]
    assert cells[1] == {
        "cell": "bce-s0",
        "columns": ["bce", "twin"],
        "seed": 0,
        "how": "reused",
        "seconds": 12.3,
    }


def test_nothing_yet_is_content_too():
    found = content([])
    assert (found["complete"], found["failures"], found["cells"]) == (False, [], [])
    assert found["columns"]["retdm"]["metrics"] == {}
