"""Which settings matter in a search: the metric over two, over each, over all; importances."""

from collections.abc import Iterator
from itertools import combinations
from math import ceil

import numpy as np
import plotly.graph_objects as go
from optuna.importance import PedAnovaImportanceEvaluator, get_param_importances
from optuna.study import Study
from optuna.visualization import plot_contour, plot_parallel_coordinate
from plotly.colors import sample_colorscale

from retdm.evaluation.table import lower_is_better
from retdm.report.comparison_tables import arrow
from retdm.report.plotly_figure import BEST, DOT, SOFT, Figure, Look, housed, label, points
from retdm.report.search_points import axis_of, trial_points
from retdm.report.search_study import is_numeric, of_recipe
from retdm.report.search_words import Summary, Trial, known_trials, shown, value_of

_FIRST_PAIR = ("loss.lambda1", "loss.lambda2")
_TOP = 5
"""Trials that PED-ANOVA wants at least among the best; twice as many in all."""
_SCALE = ["#8b95a3", "#1f6fc0"]
_RECIPE = Look("recipe", "#ffffff", "diamond", 11)
_ON_MAP = {"best": "#f25c27"}


def heat_map(summary: Summary, study: Study, metric: str) -> Figure:
    """The metric over two settings: lambda1 and lambda2 (the paper's figure 5), if searched."""
    pair = _pair(summary, metric)
    title = f"{metric} over {' and '.join(pair) if pair else 'two settings'}"
    why = why_not(summary, metric)
    if why or pair is None:
        lacking = "it needs two settings of numbers, with two values each among complete trials"
        return Figure(title, f"Not drawn: {why or lacking}.")
    x, y = pair
    index = summary["metrics"].index(metric)
    plot = plot_contour(
        study, [label(x), label(y)], target=lambda t: t.values[index], target_name=label(metric)
    )
    map_ = plot.data[0].update(
        colorscale="Viridis",
        reversescale=lower_is_better(metric),
        colorbar={"title": {"text": label(metric), "side": "right"}, "thickness": 12},
        line={"width": 0.5},
    )
    # Optuna has every pair of values, hardly any with a trial; as columns of those that have one
    # it grows with the trials, not with their square, and looks the same.
    field = np.asarray(map_.z, dtype=float)
    rows, columns = np.nonzero(np.isfinite(field))
    over, at = np.asarray(map_.x)[columns], np.asarray(map_.y)[rows]
    if plot.layout.xaxis.title.text != label(x):  # Optuna sorts the two names
        over, at = at, over
    map_.update(x=over, y=at, z=field[rows, columns])
    plot.data = [map_]
    for trace in trial_points(summary, metric, x, y):
        plot.add_trace(trace)
    own = [of_recipe(summary, name) for name in pair]
    if None not in own:
        hover = f"recipe<br>{label(x)} = {shown(own[0])}<br>{label(y)} = {shown(own[1])}"
        plot.add_trace(points(_RECIPE, own[:1], own[1:], [hover]))
    for trace in plot.data[1:]:
        # Seen on every colour of the map, whether the page is light or dark.
        trace.marker.update(color=_ON_MAP.get(trace.name, "#ffffff"))
        trace.marker.line.update(color="#1c2430", width=1.2)
    plot.layout.xaxis = axis_of(summary, x)
    plot.layout.yaxis = axis_of(summary, y)
    said = {
        "pruned": "; crosses were pruned and do not count for it",
        "recipe": "; the diamond is the recipe",
    }
    also = "".join(said.get(trace.name, "") for trace in plot.data)
    words = f"Colour between the complete trials is interpolated{also}."
    return Figure(title, words, housed(plot))


def slices(summary: Summary, metric: str) -> list[Figure]:
    """The metric against each setting."""
    return [_slice(summary, metric, name) for name in summary["space"]]


def parallel(summary: Summary, study: Study) -> Figure:
    """Every complete trial as a line over its metrics and settings."""
    metrics = summary["metrics"]
    title = "Each complete trial over all settings"
    why = _why_none(summary)
    if why:
        return Figure(title, f"Not drawn: {why}.")
    plot = plot_parallel_coordinate(study, target_name=label(metrics[0]))
    lines = [trace for trace in plot.data if trace.mode == "lines"]
    complete = known_trials(summary)
    names = [
        *metrics,
        *(
            n
            for n in sorted(summary["space"], key=label)
            if any(n in t["params"] for t in complete)
        ),
    ]
    best = {
        tuple(_shares(complete, trial, metrics))
        for trial in complete
        if trial["number"] in summary["best"]
    }
    for line in lines:
        for entry, name in zip(line.customdata, names, strict=True):
            entry[0] = label(name)
        reached = tuple(round(share, 9) for share in line.y[: len(metrics)])
        if reached in best:
            line.update(name="best", line={"color": BEST, "width": 3}, opacity=1)
        elif len(metrics) == 1:
            near = 1 - reached[0] if lower_is_better(metrics[0]) else reached[0]
            (color,) = sample_colorscale(_SCALE, [near])
            line.update(line={"color": color}, opacity=0.85)
        else:
            line.update(line={"color": SOFT}, opacity=0.6)
    # The best in front of the others.
    plot.data = sorted(lines, key=lambda line: line.name == "best")
    housed(plot).layout.margin.l = 50  # the first axis' numbers
    plot.layout.xaxis.update(ticktext=[label(name).replace(".", ".<br>") for name in names])
    plot.update_annotations(font={"color": SOFT}, bgcolor="var(--page)", borderpad=1)
    one = "Orange: the best; blue near it, grey far from it."
    words = one if len(metrics) == 1 else "Orange: the Pareto front."
    return Figure(title, words, plot, wide=True)


def importances(summary: Summary, study: Study) -> Figure:
    """PED-ANOVA: it needs no scikit-learn, and for two metrics asks for the way to the front."""
    metrics = summary["metrics"]
    title = "Importance of each setting"
    why = _why_none(summary) or _too_few_to_weigh(summary)
    if why:
        return Figure(title, f"Not drawn: {why}.")
    number = len(known_trials(summary))
    top = _top(number)
    shares = get_param_importances(
        study, evaluator=PedAnovaImportanceEvaluator(target_quantile=top / number)
    )
    names = list(reversed(shares))
    values = [shares[name] for name in names]
    plot = go.Figure(
        go.Bar(
            x=values,
            y=names,
            orientation="h",
            marker={"color": DOT},
            text=[f"{value:.2f}" for value in values],
            textposition="outside",
            cliponaxis=False,
            hovertemplate="%{y}: %{x:.3f}<extra></extra>",
        )
    )
    housed(plot).layout.xaxis.update(
        title={"text": "share of the importance"}, range=[0, 1.2 * max(values)]
    )
    words = (
        f"PED-ANOVA: how differently a setting is spread among the best {top} of {number} "
        f"complete trials{' (nearest to the front)' if len(metrics) > 1 else ''} than among "
        "all of them, as a share of 1. Pruned trials do not count; with few trials it is rough."
    )
    return Figure(title, words, plot)


def why_not(summary: Summary, metric: str) -> str:
    """Why a plot of complete trials cannot be drawn; "" if it can."""
    values = [value_of(trial, metric) for trial in known_trials(summary)]
    if len(values) < 2:
        return "only one trial is complete" if values else "no trial is complete"
    if len(set(values)) == 1:
        return f"all complete trials have the same {metric}, {values[0]:.4f}"
    return ""


def _why_none(summary: Summary) -> str:
    """Why not, for a plot of all metrics: if none of them can be drawn."""
    reasons = [why_not(summary, metric) for metric in summary["metrics"]]
    return reasons[0] if all(reasons) else ""


def _shares(trials: list[Trial], trial: Trial, metrics: list[str]) -> Iterator[float]:
    """Where each metric lies between its ends, as on Optuna's axes."""
    for metric in metrics:
        values = [value_of(other, metric) or 0.0 for other in trials]
        low, high, own = min(values), max(values), value_of(trial, metric) or 0.0
        yield round((own - low) / (high - low), 9) if high > low else 0.5


def _pair(summary: Summary, metric: str) -> tuple[str, str] | None:
    """The two settings of the heat map; a map needs two values of each."""
    trials = known_trials(summary)
    usable = [
        name
        for name in summary["space"]
        if is_numeric(summary, name)
        and len({trial["params"][name] for trial in trials if name in trial["params"]}) > 1
    ]
    pairs = [_FIRST_PAIR, *combinations(usable, 2)]
    return next((pair for pair in pairs if set(pair) <= set(usable)), None)


def _slice(summary: Summary, metric: str, name: str) -> Figure:
    title = f"{metric} against {name}"
    tried = {shown(t["params"][name]) for t in summary["trials"] if name in t["params"]}
    why = why_not(summary, metric)
    if not why and len(tried) < 2:
        why = f"all trials have the value {tried.pop()}" if tried else "no trial has it"
    if why:
        return Figure(title, f"Not drawn: {why}.")
    plot = go.Figure(trial_points(summary, metric, name))
    plot.layout.xaxis = axis_of(summary, name)
    plot.layout.yaxis = {"title": {"text": label(arrow(metric))}}
    pruned = any(trace.name == "pruned" for trace in plot.data)
    also = "; a cross is the last value of a pruned one" if pruned else ""
    return Figure(title, f"A point for each complete trial{also}.", housed(plot))


def _too_few_to_weigh(summary: Summary) -> str:
    trials, metrics = known_trials(summary), summary["metrics"]
    if len(summary["space"]) < 2:
        return "one setting alone was searched"
    if len(trials) < 2 * _TOP:
        return f"it needs {2 * _TOP} complete trials, {len(trials)} are there"
    values = sorted(
        (value_of(trial, metrics[0]) or 0.0 for trial in trials),
        reverse=not lower_is_better(metrics[0]),
    )
    if len(metrics) == 1 and values[_top(len(trials)) - 1] == values[-1]:
        return f"too many complete trials have the same {metrics[0]}, {values[-1]:.4f}"
    return ""


def _top(trials: int) -> int:
    return max(_TOP, ceil(trials / 10))
