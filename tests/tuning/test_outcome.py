"""What is told of a search: every trial with why it ended, the best, and its recipe."""

import json
import tomllib

import pytest

from retdm.config import Config, TuneSettings, parse
from retdm.report.search_html import search_html
from retdm.report.search_text import search_text
from retdm.storage import open_store
from retdm.tuning.database import open_database
from retdm.tuning.outcome import (
    begin_line,
    best_recipe,
    best_trials,
    progress_line,
    search_content,
    standing_line,
)
from retdm.tuning.study import Trials

ABOUT = {"seeds": [0], "data": "digest"}


@pytest.fixture
def begin(tmp_path):
    """A search's trials under settings."""

    def begin(**changes):
        tune = TuneSettings.model_validate(
            {"space": {"loss.k": {"int": [1, 9]}}, "sampler": "grid", "grid_points": 9, **changes}
        )
        with open_database(open_store(str(tmp_path)), "") as database:
            study = database.study("s", tune.metrics, ABOUT, "auto")
        return Trials(study, tune, first={}, seed=0, saved=lambda: None), tune

    return begin


def _content(trials, tune, **given):
    settings = {
        "data": "scene",
        "defaults": {"loss.k": 10},
        "runs": lambda number: [f"trials/{number}"],
    }
    settings |= {"shared": ["shared/one"], "final": None, **given}
    return search_content(trials.study, tune, **settings)


def test_every_trial_is_told_with_why_it_ended(begin):
    trials, tune = begin(trials=4, reduction_factor=2)
    for _ in range(4):
        trials.next()
    trials.report(0, 1, 0.7, last=False)
    trials.end(0, "complete", "trained to the end", values=[0.8], seconds=60.0)
    trials.report(1, 1, 0.2, last=False)
    trials.end(1, "pruned", "worse", seconds=20.0)
    trials.end(2, "failed", "NaN", seconds=5.0)
    trials.study.set_user_attr("shared seconds", 30.0)
    content = _content(trials, tune)
    assert content == json.loads(json.dumps(content))
    assert [one["state"] for one in content["trials"]] == [
        "complete", "pruned", "failed", "running",
    ]  # fmt: skip
    assert content["trials"][0] == {
        "number": 0, "params": {"loss.k": 1}, "state": "complete", "values": {"mAP": 0.8},
        "intermediate": [[1, 0.7]], "seconds": 60.0, "why": "trained to the end",
        "runs": ["trials/0"],
    }  # fmt: skip
    assert content["trials"][1]["values"] is None
    assert content["best"] == [0]
    # Three have run, and none but one would have had to do without the shared stage.
    assert content["shared_stage"] == {
        "runs": ["shared/one"], "seconds": 30.0, "saved_seconds": 60.0,
    }  # fmt: skip
    assert content["pruner"] == {"kind": "asha", "grace_epochs": 1, "reduction_factor": 2}
    assert content["space"] == {"loss.k": {"int": [1, 9]}}


def test_trials_of_a_grid_that_nobody_has_begun_are_not_told(begin):
    trials, tune = begin(trials=3)
    trials.next()
    assert len(trials.study.get_trials()) == 3
    assert [one["number"] for one in _content(trials, tune)["trials"]] == [0]


def test_the_earliest_of_equals_is_the_best(begin):
    trials, tune = begin(trials=3)
    for value in (0.5, 0.9, 0.9):
        trials.end(trials.next().number, "complete", "well", values=[value])
    assert [one.number for one in best_trials(trials.study, tune.metrics)] == [1]


def test_lower_is_better_where_it_is(begin):
    trials, tune = begin(trials=2, metrics=["hamming_loss"])
    for value in (0.5, 0.1):
        trials.end(trials.next().number, "complete", "well", values=[value])
    assert [one.number for one in best_trials(trials.study, tune.metrics)] == [1]


def test_of_two_metrics_all_are_kept_that_none_beats_in_both(begin):
    trials, tune = begin(trials=3, metrics=["mAP", "hamming_loss"])
    for values in ([0.9, 0.3], [0.8, 0.1], [0.7, 0.2]):
        trials.end(trials.next().number, "complete", "well", values=values)
    assert _content(trials, tune)["best"] == [0, 1]


def test_nothing_is_best_while_nothing_is_complete(begin):
    trials, tune = begin(trials=2)
    trials.end(trials.next().number, "failed", "NaN")
    content = _content(trials, tune)
    assert content["best"] == []
    assert content["shared_stage"] is None


@pytest.mark.parametrize("ended", [0, 1, 3])
def test_it_is_what_the_page_and_the_terminal_show(begin, ended):
    trials, tune = begin(trials=3)
    for value in range(ended):
        trials.end(trials.next().number, "complete", "well", values=[value / 10])
    content = _content(trials, tune)
    assert "scene" in search_html(content)
    assert search_text(content)


def test_the_recipe_of_the_best_is_that_of_the_search_with_its_settings(begin):
    trials, tune = begin(trials=2)
    trials.end(trials.next().number, "complete", "well", values=[0.5])
    table = {"method": "retdm", "data": {"url": "s3://b/x"}, "loss": {"k": 3, "tau": 0.25}}
    (best,) = best_trials(trials.study, tune.metrics)
    text = best_recipe(table, best, search="s3://b/search", tune=tune)
    assert text.startswith(
        "# Trial 0 of s3://b/search: validation mAP 0.5000\n# Found: loss.k = 1\n"
    )
    config = parse(Config, tomllib.loads(text), source="best.toml")
    assert (config.loss.k, config.loss.tau, config.data.url) == (1, 0.25, "s3://b/x")


def test_a_line_tells_each_trial_and_the_best_so_far(begin):
    trials, tune = begin(trials=2)
    first = trials.next()
    assert begin_line(first) == "trial 0 (loss.k = 1): begins"
    trials.end(first.number, "failed", "NaN in classification")
    assert progress_line(trials, tune.metrics, 0, 61.0) == (
        "trial 0 (loss.k = 1): NaN in classification; 1 of 2 are over; elapsed 1:01"
    )
    trials.end(trials.next().number, "complete", "well", values=[0.5])
    assert progress_line(trials, tune.metrics, 1, 3601.0) == (
        "trial 1 (loss.k = 2): mAP 0.5000; 2 of 2 are over; best: trial 1, mAP 0.5000; "
        "elapsed 60:01"
    )


def test_where_time_alone_ends_a_search_no_number_of_trials_is_told(begin):
    trials, tune = begin(hours=1, sampler="random")
    trials.end(trials.next().number, "failed", "NaN")
    assert ": NaN; 1 are over; elapsed" in progress_line(trials, tune.metrics, 0, 61.0)
    assert TuneSettings(hours=1, trials=5).unlimited is False
    assert TuneSettings(hours=1, sampler="grid").unlimited is False


def test_a_line_tells_where_a_search_stands(begin):
    assert standing_line(None, TuneSettings()) == "study: a new one"
    trials, tune = begin(trials=6)
    assert standing_line(trials.study, tune) == "study: goes on with 0 trials; 6 of 6 left"
    for how in ("complete", "pruned", "failed"):
        values = [0.5] if how == "complete" else None
        trials.end(trials.next().number, how, "so", values=values)
    trials.next()
    known = "study: goes on with 4 trials (1 complete, 1 pruned, 1 failed, 1 running)"
    assert standing_line(trials.study, tune) == f"{known}; 3 of 6 left"
    # A grid of nine; and it is given as many as are over.
    assert standing_line(trials.study, begin(trials=20)[1]) == f"{known}; 6 of 9 left"
    assert standing_line(trials.study, begin(trials=3)[1]) == f"{known}; 1 of 3 left"
    trials.study.set_user_attr("spent seconds", 5400)
    timed = TuneSettings(hours=2)
    assert standing_line(trials.study, timed) == f"{known}, 1.5 h so far"
