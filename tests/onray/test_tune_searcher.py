"""What Ray Tune tells of trials is in the study as it was: pruned, failed, or still begun."""

import math

import pytest
from optuna.trial import TrialState
from ray.tune.search import Searcher

from retdm.config import TuneSettings
from retdm.errors import StorageError
from retdm.onray.tune_plan import SearchPlan
from retdm.onray.tune_searcher import StudySearcher
from retdm.onray.workers import Workers
from retdm.storage import open_store
from retdm.train.checkpoint import file_of
from retdm.train.history import publish
from retdm.tuning.database import open_database
from retdm.tuning.study import Trials
from tests.checkpoints import entry, kept

TUNE = TuneSettings.model_validate(
    {"space": {"loss.k": {"int": [1, 99]}}, "trials": 5, "reduction_factor": 2}
)


class Given:
    """A searcher and what it told."""

    def __init__(self, folder, until=None):
        self.ends, self.lost = [], None
        store = open_store(str(folder))
        with open_database(store, "") as database:
            self.study = database.study("s", TUNE.metrics, {"seeds": [0], "data": "d"}, "auto")
            trials = Trials(self.study, TUNE, first={}, seed=0, saved=self._saved)
            plan = SearchPlan(store.url, {}, TUNE, "scene", 5, Workers(1, 1))
            self.searcher = StudySearcher(
                trials, plan, database, until=until, on_end=self.ends.append
            )

    def _saved(self):
        if self.lost:
            raise self.lost

    def states(self):
        return [one.state for one in self.study.get_trials()]


@pytest.fixture
def given(words, tmp_path):
    return Given(tmp_path)


def _epoch(epoch, value, *, last=False, run="run"):
    return {"epoch": epoch, "mAP": value, "last": last, "run": run}


def test_a_trial_is_given_its_number_and_parameters_and_is_told(given, caplog):
    caplog.set_level("INFO")
    settings = given.searcher.suggest("a")
    assert caplog.messages == [f"trial 0 (loss.k = {settings['loss.k']}): begins"]
    assert settings.keys() == {"trial", "loss.k"}
    assert settings["trial"] == 0
    assert given.searcher.runs == [f"{given.searcher._plan.home}/trials/0000"]


def test_a_complete_trial_has_its_values(given):
    given.searcher.suggest("a")
    given.searcher.on_trial_result("a", _epoch(1, 0.7))
    end = {"end": "complete", "why": "trained to the end", "mAP": 0.8, "seconds": 3.0}
    given.searcher.on_trial_result("a", end)
    given.searcher.on_trial_complete("a", end)
    (one,) = given.study.get_trials()
    assert (one.state, one.values, one.intermediate_values) == (
        TrialState.COMPLETE, [0.8], {1: 0.7},
    )  # fmt: skip
    assert given.ends == [0]
    assert given.searcher.runs == []


def test_a_poor_trial_is_told_to_stop_and_is_pruned(given, words):
    for trial in "ab":
        given.searcher.suggest(trial)
    given.searcher.on_trial_result("a", _epoch(1, 0.9, run="one"))
    assert words == {}
    given.searcher.on_trial_result("b", _epoch(1, 0.1, run="two"))
    assert words == {"stop two": "pruned"}
    given.searcher.on_trial_result("b", _epoch(2, 0.2, run="two"))
    given.searcher.on_trial_complete("b", {"end": "stopped", "why": "", "seconds": 2.0})
    pruned = given.study.get_trials()[1]
    assert pruned.state == TrialState.PRUNED
    assert pruned.values == [0.1]
    assert pruned.user_attrs["why"] == (
        "stopped after epoch 1: mAP 0.1000 is not among the best 1/2 there"
    )


def test_a_trial_that_ended_before_it_heard_is_complete(given):
    for trial in "ab":
        given.searcher.suggest(trial)
    given.searcher.on_trial_result("a", _epoch(1, 0.9))
    given.searcher.on_trial_result("b", _epoch(1, 0.1))
    given.searcher.on_trial_complete("b", {"end": "complete", "why": "well", "mAP": 0.2})
    assert given.states() == [TrialState.RUNNING, TrialState.COMPLETE]


def test_a_trial_that_the_programs_end_stopped_stays_begun_and_no_other_begins(given):
    given.searcher.suggest("a")
    given.searcher.on_trial_complete("a", {"end": "stopped", "why": "", "seconds": 2.0})
    assert given.states() == [TrialState.RUNNING]
    assert given.searcher.suggest("b") == Searcher.FINISHED
    assert given.ends == []


def test_a_failed_trial_does_not_end_the_search(given):
    given.searcher.suggest("a")
    given.searcher.on_trial_complete("a", {"end": "failed", "why": "loss is NaN", "seconds": 2.0})
    given.searcher.suggest("b")
    given.searcher.on_trial_complete("b", None, error=True)
    failed = given.study.get_trials()
    assert [one.state for one in failed] == [TrialState.FAIL] * 2
    assert failed[0].user_attrs["why"] == "loss is NaN"
    assert failed[1].user_attrs["why"] == "its process was lost again and again"
    assert given.searcher.suggest("c")["trial"] == 2


@pytest.mark.parametrize("end", ["complete", "stopped", "failed", "lost"])
def test_a_trial_that_is_over_keeps_the_checkpoint_of_its_best_epoch(given, words, end):
    for trial in "ab":
        number = given.searcher.suggest(trial)["trial"]
    run = open_store(given.searcher._plan.url(number, 0))
    for name in ("e1", "e2"):
        run.write(file_of(name), b"weights")
    publish(run, [entry("e1", 3.9), entry("e2", 3.1)], [kept("e1"), kept("e2")])
    given.searcher.on_trial_result("a", _epoch(1, 0.9))
    given.searcher.on_trial_result("b", _epoch(1, 0.1))
    given.searcher.on_trial_complete("b", {"end": end, "why": "so", "mAP": 0.2, "seconds": 2.0})
    left = sorted(run.names("checkpoints/"))
    # One that failed may be looked into, and one whose storage was lost goes on.
    assert left == [
        file_of(n) for n in (["e1"] if end in ("complete", "stopped") else ["e1", "e2"])
    ]


def test_checkpoints_that_cannot_be_freed_do_not_end_the_search(given, words, caplog):
    number = given.searcher.suggest("a")["trial"]
    open_store(given.searcher._plan.url(number, 0)).write("checkpoints.json", b"{")
    given.searcher.on_trial_complete("a", {"end": "complete", "why": "", "mAP": 0.2, "seconds": 1})
    assert f"the checkpoints of trial {number} stay: " in caplog.text
    assert given.ends == [number]
    assert given.searcher.lost is None
    assert given.states() == [TrialState.COMPLETE]


def test_no_new_trial_begins_when_time_is_up_but_one_that_was_begun_goes_on(words, tmp_path):
    begun = Given(tmp_path).searcher.suggest("a")
    late = Given(tmp_path, until=-math.inf).searcher
    assert late.suggest("a") == begun
    assert late.suggest("b") == Searcher.FINISHED


def test_an_undefined_metric_makes_a_failed_trial(given):
    given.searcher.suggest("a")
    given.searcher.on_trial_result("a", _epoch(1, math.nan))
    given.searcher.on_trial_complete("a", {"end": "complete", "why": "well", "mAP": math.nan})
    (one,) = given.study.get_trials()
    assert one.state == TrialState.FAIL
    assert one.user_attrs["why"] == "mAP undefined on the validation split"


def test_a_lost_storage_ends_the_search_and_loses_no_trial(given):
    for trial in "ab":
        given.searcher.suggest(trial)
    given.searcher.on_trial_complete("a", {"end": "lost", "why": "s3://b: gone", "seconds": 2.0})
    assert given.searcher.suggest("c") == Searcher.FINISHED
    assert str(given.searcher.lost) == "s3://b: gone"
    assert given.states() == [TrialState.RUNNING] * 2


def test_a_trial_that_could_not_be_put_on_record_is_not_run(given):
    given.lost = StorageError("s3://b: gone")
    assert given.searcher.suggest("a") == Searcher.FINISHED
    assert given.searcher.lost is given.lost


def test_no_trial_begins_after_the_time_or_after_a_word_to_stop(words, tmp_path):
    assert Given(tmp_path / "a", until=0.0).searcher.suggest("a") == Searcher.FINISHED
    words["stop"] = "SIGTERM"
    assert Given(tmp_path / "b").searcher.suggest("a") == Searcher.FINISHED


def test_a_bug_ends_the_search_and_is_told_at_its_end(given):
    given.lost = ZeroDivisionError("a bug")
    given.searcher.suggest("a")
    assert given.searcher.lost is given.lost
    assert given.searcher.suggest("b") == Searcher.FINISHED
