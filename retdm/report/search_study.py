"""A search's trials as an Optuna study in memory, for Optuna's own plots and importances.

Names and values are escaped in it: Plotly reads markup in every text that it shows.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from math import isfinite
from typing import Any

import optuna
from optuna.distributions import BaseDistribution, CategoricalDistribution
from optuna.distributions import FloatDistribution as Float
from optuna.distributions import IntDistribution as Int
from optuna.study import Study, StudyDirection
from optuna.trial import FrozenTrial, TrialState, create_trial

from retdm.evaluation.table import lower_is_better
from retdm.report.plotly_figure import label
from retdm.report.search_words import Summary, Trial, reports, shown, value_of

_DIRECTIONS = (StudyDirection.MAXIMIZE, StudyDirection.MINIMIZE)
_LOG_FROM = 100
"""Ratio of the ends from which a choice of positive numbers is shown on a log axis."""


def study_of(summary: Summary) -> Study:
    """The study; a trial has the number there that it has in the summary.

    A complete trial without all metrics counts as failed, and so it does in every plot. A choice
    of numbers becomes a range, so that plots have a scale for it.
    """
    metrics = summary["metrics"]
    directions = [_DIRECTIONS[lower_is_better(metric)] for metric in metrics]
    with _quiet():
        study = optuna.create_study(directions=directions)
    domains = {name: _domain(summary, name) for name in summary["space"]}
    trials = {trial["number"]: trial for trial in summary["trials"]}
    for number in range(max(trials, default=-1) + 1):
        if number in trials:
            study.add_trial(_frozen(trials[number], metrics, domains))
        else:
            study.add_trial(create_trial(state=TrialState.WAITING))
    return study


def is_numeric(summary: Summary, name: str) -> bool:
    """Whether the setting has an axis of numbers."""
    return not isinstance(_domain(summary, name), CategoricalDistribution)


def is_log(summary: Summary, name: str) -> bool:
    """Whether that axis is logarithmic."""
    domain = _domain(summary, name)
    return isinstance(domain, Float | Int) and domain.log


def is_integer(summary: Summary, name: str) -> bool:
    """Whether it has whole numbers alone."""
    return isinstance(_domain(summary, name), Int)


def ends(summary: Summary, name: str) -> tuple[float, float]:
    """Ends of a numeric setting's domain, wide enough for all values tried."""
    domain = _domain(summary, name)
    assert isinstance(domain, Float | Int)
    return domain.low, domain.high


def of_recipe(summary: Summary, name: str) -> float | None:
    """The recipe's own value, if the setting's axis has a place for it."""
    value = summary["defaults"].get(name)
    fits = _is_number(value) and (value > 0 or not is_log(summary, name))
    return value if fits else None


def in_study(value: Any, *, numeric: bool) -> float | int | str:
    """A setting's value as it stands in the study."""
    return value if numeric else label(shown(value))


def _frozen(
    trial: Trial, metrics: list[str], domains: Mapping[str, BaseDistribution]
) -> FrozenTrial:
    values = [value_of(trial, metric) for metric in metrics]
    known = [value for value in values if value is not None]
    state = TrialState[{"failed": "FAIL"}.get(trial["state"], trial["state"].upper())]
    if state is TrialState.COMPLETE and len(known) < len(metrics):
        state = TrialState.FAIL
    own = {name: domain for name, domain in domains.items() if name in trial["params"]}
    return create_trial(
        state=state,
        values=known if state is TrialState.COMPLETE else None,
        params={
            label(name): in_study(
                trial["params"][name], numeric=not isinstance(domain, CategoricalDistribution)
            )
            for name, domain in own.items()
        },
        distributions={label(name): domain for name, domain in own.items()},
        intermediate_values=dict(reports(trial)),
    )


def _domain(summary: Summary, name: str) -> BaseDistribution:
    """What was searched, widened for what was tried: the recipe's value may lie outside."""
    (kind, given), *_ = summary["space"][name].items()
    tried = [trial["params"][name] for trial in summary["trials"] if name in trial["params"]]
    values = [*given, *tried]
    if not all(map(_is_number, values)):
        return CategoricalDistribution(list(dict.fromkeys(label(shown(v)) for v in values)))
    low, high = min(values), max(values)
    if kind == "int":
        return Int(low, high)
    log = low > 0 and (kind == "log" or (kind == "choice" and high / low >= _LOG_FROM))
    return Float(low, high, log=log)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Optuna's line that a study was created, which nobody asked for."""
    before = optuna.logging.get_verbosity()
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    try:
        yield
    finally:
        optuna.logging.set_verbosity(before)
