"""How a search went: its values trial by trial or the Pareto front, each trial by epoch."""

from itertools import accumulate
from typing import Any

import plotly.graph_objects as go

from retdm.evaluation.table import lower_is_better
from retdm.report.comparison_tables import arrow
from retdm.report.plotly_figure import BEST, Figure, housed, label, points
from retdm.report.search_points import LOOKS, height, in_words
from retdm.report.search_words import Summary, Trial, known_trials, reports, value_of

_LINES: dict[str, dict[str, Any]] = {
    "complete": {"width": 1.3},
    "best": {"width": 3},
    "pruned": {"width": 1, "dash": "dot"},
    "running": {"width": 1.5, "dash": "dash"},
    "failed": {"width": 1.5, "dash": "dash"},
}


def values_figure(summary: Summary) -> Figure:
    """The history of the search; for two metrics the Pareto front."""
    return _front(summary) if len(summary["metrics"]) > 1 else _history(summary)


def epochs_figure(summary: Summary) -> Figure:
    """The first metric of every trial by epoch, up to where it ended."""
    metric = summary["metrics"][0]
    title = f"{metric} of each trial by epoch"
    trials = [trial for trial in summary["trials"] if reports(trial)]
    if not trials:
        return Figure(title, "Not drawn: no trial has reported a value yet.")
    plot = go.Figure()
    legend = set()
    for trial in sorted(trials, key=lambda trial: _kind(summary, trial) == "best"):
        kind = _kind(summary, trial)
        look, seen = LOOKS[kind], reports(trial)
        # Where it ended bears its sign, which says how.
        sizes = [0] * (len(seen) - 1) + [look.size]
        plot.add_trace(
            go.Scatter(
                x=[epoch for epoch, _ in seen],
                y=[value for _, value in seen],
                mode="lines+markers",
                name=look.name,
                legendgroup=kind,
                showlegend=kind not in legend,
                line={"color": look.color, **_LINES[kind]},
                marker={
                    "symbol": look.symbol,
                    "size": sizes,
                    "color": look.color,
                    "line": {"width": 0},
                    "opacity": 1,
                },
                opacity=1 if kind == "best" else 0.75,
                text=in_words(summary, trial, list(trial["params"])),
                hovertemplate="epoch %{x}: %{y:.4f}<br>%{text}<extra></extra>",
            )
        )
        legend.add(kind)
    housed(plot)
    longest = max(reports(trial)[-1][0] for trial in trials)
    few = {"dtick": 1} if longest <= 12 else {}
    plot.layout.xaxis.update(title={"text": "epoch"}, **few)
    plot.layout.yaxis.update(title={"text": label(arrow(metric))})
    return Figure(title, "Each line ends in a sign for how the trial ended.", plot)


def _history(summary: Summary) -> Figure:
    """Every trial in its order; Optuna's own plot leaves out all but the complete ones."""
    (metric,) = summary["metrics"]
    title = f"{metric} trial by trial"
    complete = known_trials(summary)
    plot = go.Figure()
    if complete:
        better = min if lower_is_better(metric) else max
        plot.add_trace(
            go.Scatter(
                x=[trial["number"] for trial in complete],
                y=list(accumulate((value_of(t, metric) or 0.0 for t in complete), better)),
                mode="lines",
                name="best so far",
                line={"color": BEST, "width": 2, "shape": "hv"},
                hovertemplate="best so far: %{y:.4f}<extra></extra>",
            )
        )
    for kind, look in LOOKS.items():
        own = [trial for trial in summary["trials"] if _kind(summary, trial) == kind]
        own = [trial for trial in own if height(trial, metric) is not None]
        if own:
            at = [height(trial, metric) for trial in own]
            hover = [in_words(summary, trial, list(trial["params"])) for trial in own]
            plot.add_trace(points(look, [trial["number"] for trial in own], at, hover))
    if not plot.data:
        return Figure(title, "Not drawn: no trial has reported a value yet.")
    housed(plot)
    plot.layout.xaxis.update(title={"text": "trial"})
    plot.layout.yaxis.update(title={"text": label(arrow(metric))})
    words = "Those that are not complete stand at the last value that they reported, if any."
    return Figure(title, words, plot)


def _front(summary: Summary) -> Figure:
    first, second = summary["metrics"][:2]
    title = f"Pareto front of {first} and {second}"
    complete = known_trials(summary)
    if not complete:
        return Figure(title, "Not drawn: no trial is complete.")
    plot = go.Figure()
    for kind in ("complete", "best"):
        own = [trial for trial in complete if _kind(summary, trial) == kind]
        own.sort(key=lambda trial: value_of(trial, first) or 0.0)
        if own:
            over, at = ([value_of(t, metric) for t in own] for metric in (first, second))
            hover = [in_words(summary, trial, list(trial["params"])) for trial in own]
            plot.add_trace(points(LOOKS[kind], over, at, hover))
    front = plot.data[-1]
    if front.name == LOOKS["best"].name:
        front.update(mode="lines+markers", line={"color": BEST, "width": 1.5, "dash": "dot"})
    housed(plot)
    plot.layout.xaxis.update(title={"text": label(arrow(first))})
    plot.layout.yaxis.update(title={"text": label(arrow(second))})
    return Figure(title, "Stars: no other complete trial is better in both metrics.", plot)


def _kind(summary: Summary, trial: Trial) -> str:
    return "best" if trial["number"] in summary["best"] else str(trial["state"])
