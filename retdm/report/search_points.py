"""Trials as points of a plot: what each kind looks like, its text, the axes of settings."""

from collections.abc import Sequence
from math import log10
from typing import Any

import plotly.graph_objects as go

from retdm.report.plotly_figure import BAD, BEST, DOT, SOFT, Look, label, points
from retdm.report.search_study import (
    ends,
    in_study,
    is_integer,
    is_log,
    is_numeric,
    of_recipe,
)
from retdm.report.search_words import Summary, Trial, known_trials, last_report, shown, value_of

LOOKS = {
    "complete": Look("complete", DOT),
    "best": Look("best", BEST, "star", 14),
    "pruned": Look("pruned", SOFT, "x", 8),
    "running": Look("running", DOT, "circle-open", 8),
    "failed": Look("failed", BAD, "triangle-down", 9),
}
_WHOLE_TICKS = 10


def trial_points(summary: Summary, metric: str, x: str, y: str = "") -> list[go.Scatter]:
    """Complete, pruned and best trials over the setting `x`, and the setting `y` or the metric.

    A pruned one is at its last report, which is of the first metric: with others it is left out.
    """
    names = [name for name in (x, y) if name]
    of = {"complete": known_trials(summary), "pruned": [], "best": []}
    of["best"] = [t for t in of["complete"] if t["number"] in summary["best"]]
    of["complete"] = [t for t in of["complete"] if t["number"] not in summary["best"]]
    if metric == summary["metrics"][0]:
        of["pruned"] = [
            t for t in summary["trials"] if t["state"] == "pruned" and last_report(t) is not None
        ]
    out = []
    for kind, trials in of.items():
        own = [trial for trial in trials if all(name in trial["params"] for name in names)]
        if own:
            over = [_place(summary, trial, x) for trial in own]
            at = [_place(summary, t, y) if y else height(t, metric) for t in own]
            out.append(points(LOOKS[kind], over, at, [in_words(summary, t, names) for t in own]))
    return out


def height(trial: Trial, metric: str) -> float | None:
    """The metric of a complete trial, else what it last reported."""
    value = value_of(trial, metric)
    last = last_report(trial)
    return value if value is not None else last[1] if last else None


def in_words(summary: Summary, trial: Trial, names: Sequence[str]) -> str:
    """What a point says: number, state, metrics, settings `names`; for Plotly, lines with <br>."""
    lines = [f"trial {trial['number']}, {trial['state']}"]
    for metric in summary["metrics"]:
        value = value_of(trial, metric)
        if value is not None:
            lines.append(f"{metric} {value:.4f}")
    last = last_report(trial)
    if trial["state"] != "complete" and last:
        lines.append(f"{summary['metrics'][0]} {last[1]:.4f} after epoch {last[0]}")
    lines += [f"{name} = {shown(trial['params'][name])}" for name in names]
    return "<br>".join(map(label, lines))


def axis_of(summary: Summary, name: str) -> dict[str, Any]:
    """The axis of a setting: its whole domain, and the recipe's value if that lies outside."""
    axis: dict[str, Any] = {"title": {"text": label(name)}}
    if not is_numeric(summary, name):
        return axis | {"type": "category"}
    own = of_recipe(summary, name)
    places = [*ends(summary, name), *([] if own is None else [own])]
    low, high = min(places), max(places)
    if is_log(summary, name):
        decades = _padded([log10(low), log10(high)])
        ticks = {"dtick": 1} if decades[1] - decades[0] > 1 else {}
        # Plotly writes powers a quarter larger than it writes other numbers.
        powers = {"exponentformat": "power", "tickfont": {"size": 10}}
        return axis | {"type": "log", "range": decades, **powers, **ticks}
    ticks = {"dtick": 1} if is_integer(summary, name) and high - low <= _WHOLE_TICKS else {}
    return axis | {"range": _padded([low, high]), **ticks}


def _place(summary: Summary, trial: Trial, name: str) -> Any:
    return in_study(trial["params"][name], numeric=is_numeric(summary, name))


def _padded(range_: Sequence[float]) -> list[float]:
    low, high = range_
    margin = 0.04 * (high - low)
    return [low - margin, high + margin]
