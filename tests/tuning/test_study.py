"""The trials of a search: none is lost, none is run twice, and poor ones are stopped."""

import types

import optuna
import pytest
from optuna.trial import TrialState

from retdm.config import TuneSettings
from retdm.storage import open_store
from retdm.tuning.database import open_database
from retdm.tuning.study import Trials

ABOUT = {"seeds": [0], "data": "d"}
NOTHING = types.MappingProxyType({})


def _settings(**changes):
    table = {
        "space": {"loss.lambda1": {"log": [1e-3, 1]}, "loss.k": {"int": [1, 30]}},
        "trials": 6, "startup_trials": 2, "reduction_factor": 2, **changes,
    }  # fmt: skip
    return TuneSettings.model_validate(table)


@pytest.fixture
def opened(tmp_path):
    """Opens the search's trials, as each program does."""
    store = open_store(str(tmp_path / "search"))

    def begin(settings, saved=lambda: None, seed=0, first=NOTHING):
        with open_database(store, "") as database:
            study = database.study("s", settings.metrics, ABOUT, "auto")
            return Trials(study, settings, first=first, seed=seed, saved=saved)

    return begin


def _states(trials):
    return [one.state.name for one in trials.study.get_trials()]


def test_as_many_trials_are_begun_as_were_asked_for(opened):
    trials = opened(_settings(trials=3))
    begun = [trials.next() for _ in range(3)]
    assert [one.number for one in begun] == [0, 1, 2]
    assert trials.next() is None
    for one in begun:
        trials.end(one.number, "complete", "well", values=[0.5])
    assert trials.left == 0
    assert trials.next() is None


def test_the_recipes_own_values_are_tried_first(opened):
    own = {"loss.lambda1": 0.25, "loss.k": 10}
    trials = opened(_settings(), first=own)
    assert trials.next().params == own
    assert trials.next().params != own
    again = opened(_settings(), first=own)
    assert len([one for one in again.study.get_trials() if one.params == own]) == 1


@pytest.mark.parametrize("own", [{"loss.lambda1": 2.0, "loss.k": 10}, {"loss.k": None}, {}])
def test_values_that_the_space_lacks_are_not_tried_first(opened, own):
    assert opened(_settings(), first=own).next().params != own


def test_more_trials_go_on_with_the_same_search(opened):
    first = opened(_settings(trials=1))
    first.end(first.next().number, "complete", "well", values=[0.5])
    more = opened(_settings(trials=2))
    assert more.left == 1
    assert more.next().number == 1


def test_what_a_killed_program_had_begun_is_begun_again_under_its_number(opened):
    killed = opened(_settings(trials=3))
    done, lost = killed.next(), killed.next()
    killed.end(done.number, "complete", "well", values=[0.5])
    killed.report(lost.number, 1, 0.4, last=False)
    again = opened(_settings(trials=3))
    assert again.left == 2
    first = again.next()
    assert (first.number, first.params) == (lost.number, lost.params)
    assert again.next().number == 2
    assert again.next() is None
    # What it told before is not told twice.
    assert again.report(first.number, 1, 0.3, last=False) == ""
    assert again.study.get_trials()[lost.number].intermediate_values == {1: 0.4}


def test_a_begun_trial_goes_on_where_no_new_one_may_begin(opened):
    killed = opened(_settings())
    lost = killed.next()
    again = opened(_settings())
    assert again.orphans == 1
    assert again.next(new=False) == lost
    assert again.orphans == 0
    assert again.next(new=False) is None
    assert len(again.study.get_trials()) == 1


def test_a_trial_that_was_killed_while_it_was_drawn_gets_the_rest(opened):
    killed = opened(_settings())
    drawn = killed.study.ask({"loss.k": optuna.distributions.IntDistribution(1, 30)})
    again = opened(_settings()).next()
    assert again.number == drawn.number
    assert again.params.keys() == {"loss.lambda1", "loss.k"}
    assert again.params["loss.k"] == drawn.params["loss.k"]


def test_a_poor_trial_stays_poor_after_a_kill(opened):
    killed = opened(_settings())
    good, poor = killed.next(), killed.next()
    killed.report(good.number, 1, 0.9, last=False)
    why = killed.report(poor.number, 1, 0.1, last=False)
    assert "after epoch 1" in why
    again = opened(_settings())
    assert [again.next().number for _ in range(2)] == [good.number, poor.number]
    assert not again.report(good.number, 1, 0.9, last=False)
    assert again.report(poor.number, 2, 0.3, last=False) == why


def test_every_epoch_outlives_the_program(opened):
    saved = []
    trials = opened(_settings(), saved=lambda: saved.append(1))
    number = trials.next().number
    before = len(saved)
    trials.report(number, 1, 0.5, last=False)
    assert len(saved) == before + 1


def test_another_seed_draws_other_trials(opened, tmp_path):
    first = opened(_settings()).next()
    (tmp_path / "search/study.db").unlink()
    assert opened(_settings(), seed=1).next().params != first.params


def test_a_trial_is_on_record_before_it_runs(opened):
    seen = []
    trials = opened(_settings(), saved=lambda: seen.append(_states(trials)))
    trials.next()
    assert seen == [["RUNNING"]]
    trials.end(0, "failed", "no memory")
    assert seen[-1] == ["FAIL"]


def test_a_program_draws_other_trials_than_the_one_before(opened):
    first = opened(_settings()).next()
    second = opened(_settings())
    assert second.next().params == first.params  # begun again
    assert second.next().params != first.params


def test_poor_trials_are_stopped_and_pruned_with_what_they_had(opened):
    trials = opened(_settings(grace_epochs=2))
    good, poor = trials.next(), trials.next()
    assert not trials.report(good.number, 1, 0.9, last=False)
    assert not trials.report(good.number, 2, 0.9, last=False)
    assert not trials.report(poor.number, 1, 0.1, last=False)  # within its grace
    why = trials.report(poor.number, 2, 0.1, last=False)
    assert why == "stopped after epoch 2: mAP 0.1000 is not among the best 1/2 there"
    trials.end(poor.number, "pruned", "worse", seconds=3.0)
    pruned = trials.study.get_trials()[poor.number]
    assert (pruned.state, pruned.values) == (TrialState.PRUNED, [0.1])
    assert pruned.intermediate_values == {1: 0.1, 2: 0.1}
    assert pruned.user_attrs == {"why": "worse", "seconds": 3.0, "poor": why}


def test_rungs_outlive_the_program(opened):
    first = opened(_settings())
    good = first.next()
    first.report(good.number, 1, 0.9, last=False)
    first.end(good.number, "complete", "well", values=[0.9])
    later = opened(_settings())
    poor = later.next()
    assert later.report(poor.number, 1, 0.1, last=False)


def test_lower_is_better_where_it_is(opened):
    trials = opened(_settings(metrics=["hamming_loss"]))
    good, poor = trials.next(), trials.next()
    assert not trials.report(good.number, 1, 0.1, last=False)
    assert trials.report(poor.number, 1, 0.9, last=False)


def test_a_trial_at_its_end_is_not_stopped(opened):
    trials = opened(_settings())
    good, poor = trials.next(), trials.next()
    trials.report(good.number, 1, 0.9, last=False)
    assert not trials.report(poor.number, 1, 0.1, last=True)


@pytest.mark.parametrize(
    "settings", [{"prune": "none"}, {"metrics": ["mAP", "hamming_loss"]}], ids=["none", "two"]
)
def test_nothing_is_stopped_without_a_pruner_or_with_two_metrics(opened, settings):
    trials = opened(_settings(**settings))
    good, poor = trials.next(), trials.next()
    assert not trials.report(good.number, 1, 0.9, last=False)
    assert not trials.report(poor.number, 1, 0.1, last=False)


def test_settings_that_were_tried_are_not_run_again(opened):
    trials = opened(_settings(space={"loss.k": {"int": [1, 2]}}, trials=8, sampler="random"))
    first = {}
    while begun := trials.next():
        k = begun.params["loss.k"]
        assert k not in first
        first[k] = begun.number
        trials.end(begun.number, "complete", "well", values=[k / 10])
    every = trials.study.get_trials()
    assert len(every) == 8
    for one in every:
        k = one.params["loss.k"]
        assert one.values == [k / 10]
        told = "well" if one.number == first[k] else f"as trial {first[k]}"
        assert one.user_attrs["why"] == told


def test_a_grid_tries_every_combination_once(opened):
    space = {"loss.k": {"int": [1, 3]}, "loss.score": {"choice": ["inv", "neg_dist"]}}
    settings = _settings(space=space, sampler="grid", grid_points=3, trials=99)
    trials = opened(settings)
    assert trials.left == 6
    ran = []
    while begun := trials.next():
        ran.append(tuple(begun.params.values()))
        trials.end(begun.number, "complete", "well", values=[0.5])
        trials = opened(settings)  # whoever goes on with it
    assert sorted(ran) == [(k, score) for k in (1, 2, 3) for score in ("inv", "neg_dist")]


def test_better_values_are_proposed_than_at_random(opened):
    """The sampler learns: of 30 trials the last ten are better than the first ten."""
    trials = opened(_settings(trials=30, startup_trials=8, prune="none"))
    values = []
    while begun := trials.next():
        values.append(-abs(begun.params["loss.k"] - 20) / 30)
        trials.end(begun.number, "complete", "well", values=values[-1:])
    assert sum(values[-10:]) > sum(values[:10])


def test_two_trials_at_work_are_not_alike(opened):
    trials = opened(_settings(trials=20, startup_trials=2, prune="none"))
    for value in (0.1, 0.9, 0.5, 0.6):
        trials.end(trials.next().number, "complete", "well", values=[value])
    begun = [trials.next().params["loss.lambda1"] for _ in range(4)]
    assert len(set(begun)) == 4


def test_optuna_keeps_quiet(opened, recwarn):
    trials = opened(_settings())
    trials.next()
    assert not [
        one for one in recwarn if issubclass(one.category, optuna.exceptions.ExperimentalWarning)
    ]
