"""What a search has come to: the content of `tune.json`, and the recipe of its best trial."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any

import optuna
import tomli_w
from optuna.trial import FrozenTrial, TrialState

from retdm.config import Table, TuneSettings, lay_over
from retdm.console import counted
from retdm.evaluation.table import lower_is_better
from retdm.tuning.clock import SPENT
from retdm.tuning.database import ABOUT
from retdm.tuning.space import to_json
from retdm.tuning.study import OVER, SECONDS, WHY, Begun, Trials, wanted

SHARED_SECONDS = "shared seconds"
_WORDS = {
    TrialState.COMPLETE: "complete",
    TrialState.PRUNED: "pruned",
    TrialState.FAIL: "failed",
    TrialState.RUNNING: "running",
}


def search_content(
    study: optuna.Study,
    tune: TuneSettings,
    *,
    data: str,
    defaults: Mapping[str, Any],
    runs: Callable[[int], list[str]],
    shared: Sequence[str],
    final: Mapping[str, Any] | None,
) -> dict[str, Any]:
    """The content of `tune.json`.

    Args:
        study: Of the search.
        tune: Its settings.
        data: Name of the data set.
        defaults: The recipe's own values of what is searched.
        runs: Folders of a trial's runs.
        shared: Folders of the runs of the first stage that all trials start from.
        final: Result of the best trial when it was trained again; None if it was not.
    """
    pruner: dict[str, Any] = {"kind": "none"}
    if tune.prune == "asha" and len(tune.metrics) == 1:
        pruner = {
            "kind": "asha",
            "grace_epochs": tune.grace_epochs,
            "reduction_factor": tune.reduction_factor,
        }
    # Those of a grid that nobody has begun stand in the study too.
    trials = study.get_trials(deepcopy=False, states=tuple(_WORDS))
    about = study.user_attrs[ABOUT]
    once = study.user_attrs.get(SHARED_SECONDS)
    ran = [one for one in trials if one.user_attrs.get(SECONDS)]
    times = [one.datetime_complete for one in trials if one.datetime_complete]
    started = [one.datetime_start for one in trials if one.datetime_start]
    return {
        "search": study.study_name,
        "metrics": list(tune.metrics),
        "sampler": tune.sampler,
        "pruner": pruner,
        "space": to_json(tune.space),
        "seeds": about["seeds"],
        "data": data,
        "data_digest": about["data"],
        "defaults": dict(defaults),
        "trials": [{**_trial(one, tune.metrics), "runs": runs(one.number)} for one in trials],
        "best": [one.number for one in best_trials(study, tune.metrics)],
        "shared_stage": None
        if once is None
        else {
            "runs": list(shared),
            "seconds": once,
            "saved_seconds": once * max(0, len(ran) - 1),
        },
        "seconds": (max(times) - min(started)).total_seconds() if times else None,
        "final": None
        if final is None
        else {key: final[key] for key in ("run", "data", "metrics", "config", "history")},
        "versions": final and final["versions"],
    }


def best_trials(study: optuna.Study, metrics: Sequence[str]) -> list[FrozenTrial]:
    """The best complete trial; with two metrics all that none beats in both; none without any."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    if not complete:
        return []
    if len(metrics) > 1:
        return study.best_trials
    # The earliest among equals, so that trials to come do not change it for nothing.
    sign = 1 if lower_is_better(metrics[0]) else -1
    return [min(complete, key=lambda one: (sign * one.values[0], one.number))]


def _trial(one: FrozenTrial, metrics: Sequence[str]) -> dict[str, Any]:
    complete = one.state == TrialState.COMPLETE
    return {
        "number": one.number,
        "params": one.params,
        "state": _WORDS[one.state],
        "values": dict(zip(metrics, one.values, strict=True)) if complete else None,
        "intermediate": [[step, value] for step, value in sorted(one.intermediate_values.items())],
        "seconds": one.user_attrs.get(SECONDS),
        "why": one.user_attrs.get(WHY, ""),
    }


def best_recipe(table: Table, trial: FrozenTrial, *, search: str, tune: TuneSettings) -> str:
    """A recipe that `jobs/train.py` takes: that of the search with the trial's settings.

    Args:
        table: Of the search's recipe.
        trial: A complete one.
        search: URL of the search.
        tune: Its settings.
    """
    return (
        f"# Trial {trial.number} of {search}: validation {_shown(tune.metrics, trial.values)}\n"
        f"# Found: {_params(trial.params)}\n"
        f"{tomli_w.dumps(lay_over(table, trial.params))}"
    )


def standing_line(study: optuna.Study | None, tune: TuneSettings) -> str:
    """What is known of a search before it begins or goes on; None: nothing yet."""
    if study is None:
        return "study: a new one"
    states = [one.state for one in study.get_trials(deepcopy=False)]
    counts = [f"{states.count(state)} {word}" for state, word in _WORDS.items() if state in states]
    over = sum(states.count(state) for state in OVER)
    line = f"study: goes on with {counted(sum(state in _WORDS for state in states), 'trial')}"
    if counts:
        line += f" ({', '.join(counts)})"
    if spent := study.user_attrs.get(SPENT):
        line += f", {spent / 3600:.2g} h so far"
    if tune.unlimited:
        return line
    left = max(states.count(TrialState.RUNNING), wanted(tune) - over)
    return f"{line}; {left} of {wanted(tune)} left"


def begin_line(begun: Begun) -> str:
    """One line before each trial."""
    return f"trial {begun.number} ({_params(begun.params)}): begins"


def progress_line(trials: Trials, metrics: Sequence[str], number: int, elapsed: float) -> str:
    """One line after each trial.

    Args:
        trials: Of the search.
        metrics: That they are to be good at.
        number: Of the trial.
        elapsed: Seconds since this program began.
    """
    one = trials.study.get_trials(deepcopy=False)[number]
    said = one.user_attrs[WHY]
    if one.state == TrialState.COMPLETE:
        said = _shown(metrics, one.values)
    line = f"trial {number} ({_params(one.params)}): {said}; {trials.over}"
    line += " are over" if trials.unlimited else f" of {trials.wanted} are over"
    best = best_trials(trials.study, metrics)
    if len(best) == 1:
        line += f"; best: trial {best[0].number}, {_shown(metrics, best[0].values)}"
    minutes, seconds = divmod(round(elapsed), 60)
    return f"{line}; elapsed {minutes}:{seconds:02}"


def _shown(metrics: Sequence[str], values: Sequence[float]) -> str:
    both = zip(metrics, values, strict=True)
    return ", ".join(f"{metric} {value:.4f}" for metric, value in both)


def _params(params: Mapping[str, Any]) -> str:
    return ", ".join(
        f"{key} = {value:.4g}" if isinstance(value, float) else f"{key} = {value}"
        for key, value in sorted(params.items())
    )
