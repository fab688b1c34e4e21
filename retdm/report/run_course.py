"""How a run went: the parts of its loss and its learning rate, and validation by epoch."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from math import ceil, floor, isfinite, log10
from typing import Any, TypeGuard

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from retdm.report.comparison_tables import arrow
from retdm.report.plotly_figure import (
    DOT,
    LINE,
    PALETTE,
    SOFT,
    Figure,
    housed,
    label,
)
from retdm.report.run_files import RunFiles

DASHES = ("solid", "dash", "dot", "dashdot", "7px,2px")
"""As many as do not divide the colours, so that few lines have both in common."""
_APART = ("kind", "step", "gradient_norm", "violations", "neighbours")
_MOST = 400
"""Points of a line; more are averaged."""


def losses_figure(run: RunFiles) -> Figure:
    """Each part of the loss by step, the violated constraints, and the learning rate."""
    title = f"Loss parts and learning rate of {run.name}"
    names = list(dict.fromkeys(name for line in run.lines for name in line if name not in _APART))
    if not names:
        return Figure(title, "Not drawn: the run's log has no step.")
    violated = any("violations" in line for line in run.lines)
    rates = _rates(run.history)
    rows = [
        "loss part",
        *(["violated"] if violated else []),
        *(["learning rate"] if rates else []),
    ]
    plot = make_subplots(
        rows=len(rows),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.05,
        row_heights=[3, 1, 1][: len(rows)],
    )
    for number, name in enumerate(names):
        x, y = _averaged(run.lines, name)
        look = {"color": PALETTE[number % len(PALETTE)], "dash": DASHES[number % len(DASHES)]}
        plot.add_trace(_line(x, y, name, {**look, "width": 1.8}), row=1, col=1)
    if violated:
        x, y = _averaged(run.lines, "violations")
        line = _line(x, y, "violations", {"color": SOFT, "width": 1.8})
        plot.add_trace(line.update(showlegend=False), row=2, col=1)
    if rates:
        steps, values = zip(*rates, strict=True)
        line = _line(steps, values, "learning rate", {"color": DOT, "width": 1.8})
        plot.add_trace(line.update(showlegend=False), row=len(rows), col=1)
        plot.update_yaxes(type="log", row=len(rows), col=1, nticks=4)
    housed(plot)
    seen = [line[name] for line in run.lines for name in names if _is_number(line.get(name))]
    if seen and min(seen) > 0:
        plot.update_yaxes(type="log", row=1, col=1, **_log_ticks(min(seen), max(seen)))
    plot.layout.legend.update(y=-0.13, yanchor="top")
    for row, name in enumerate(rows, start=1):
        plot.update_yaxes(title={"text": name}, row=row, col=1)
    plot.update_xaxes(title={"text": "optimizer step"}, row=len(rows), col=1)
    _mark_stages(plot, run.history)
    words = (
        f"Lines: the parts of the loss ({', '.join(names)}), global means of the steps between "
        "two log lines, on a logarithmic axis; total is what is minimised. Vertical lines end the "
        "stages, whose totals are different sums."
    )
    if violated:
        words += " Below, the share of the constraints own < neighbour that do not hold."
    if rates:
        words += " At the bottom, the learning rate of each epoch."
    return Figure(title, words, plot, rows=22)


def validation_figure(runs: Sequence[RunFiles], metric: str = "mAP") -> Figure:
    """The validation metric of every run over its epochs."""
    title = f"Validation {metric} of all runs"
    key = f"val/{metric}"
    plot = go.Figure()
    said = []
    for number, run in enumerate(runs):
        values = [entry.get(key) for entry in run.history]
        known = [value for value in values if _is_number(value)]
        if known:
            x = list(range(1, len(values) + 1))
            look = {"color": PALETTE[number % len(PALETTE)], "dash": DASHES[number % len(DASHES)]}
            line = _line(x, values, run.name, {**look, "width": 2})
            plot.add_trace(line.update(mode="lines+markers"))
            said.append(f"{run.name} ends at {known[-1]:.4f} (highest {max(known):.4f})")
    if not said:
        return Figure(title, "Not drawn: no run has a finished epoch.")
    housed(plot)
    plot.layout.xaxis.update(title={"text": "epoch of the run, all stages in a row"}, dtick=1)
    if max(len(run.history) for run in runs) > 20:
        plot.layout.xaxis.update(dtick=None)
    plot.layout.yaxis.update(title={"text": label(arrow(metric))})
    words = f"A line for each run, one point for each epoch; higher is better. {'; '.join(said)}."
    return Figure(title, words, plot)


def _line(x: Sequence[Any], y: Sequence[Any], name: str, line: Mapping[str, Any]) -> go.Scatter:
    return go.Scatter(
        x=list(x),
        y=list(y),
        mode="lines",
        name=label(name),
        line=dict(line),
        hovertemplate=f"{label(name)}: %{{y:.4g}} at %{{x}}<extra></extra>",
    )


def _is_number(value: Any) -> TypeGuard[float]:
    return isinstance(value, int | float) and not isinstance(value, bool) and isfinite(value)


def _averaged(lines: Sequence[Mapping[str, Any]], name: str) -> tuple[list[int], list[float]]:
    """Steps and values of one part; means of neighbours where there are too many."""
    known = [(line["step"], line[name]) for line in lines if _is_number(line.get(name))]
    size = -(-len(known) // _MOST) or 1
    parts = [known[at : at + size] for at in range(0, len(known), size)]
    return (
        [part[-1][0] for part in parts],
        [sum(value for _, value in part) / len(part) for part in parts],
    )


def _log_ticks(low: float, high: float) -> dict[str, Any]:
    """Whole numbers at 1, 2 and 5: Plotly writes the 2 and 5 of each power as single digits."""
    powers = range(floor(log10(low)) - 1, ceil(log10(high)) + 1)
    ticks = [digit * 10.0**power for power in powers for digit in (1, 2, 5)]
    return {"tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _rates(history: Sequence[Mapping[str, Any]]) -> list[tuple[int, float]]:
    """Corners of the learning rate's line; epochs of a fit have none."""
    corners, begun = [], 0
    for entry in history:
        if _is_number(rate := entry.get("lr")) and rate > 0:
            corners += [(begun, rate), (entry["step"], rate)]
        begun = entry["step"]
    return corners


def _mark_stages(plot: go.Figure, history: Sequence[Mapping[str, Any]]) -> None:
    begun = 0
    stages = [list(entries) for _, entries in groupby(history, key=lambda entry: entry["stage"])]
    for number, entries in enumerate(stages):
        end = entries[-1]["step"]
        plot.add_annotation(
            text=f"stage {label(str(entries[0]['stage']))}",
            x=(begun + end) / 2,
            y=1.01,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"color": SOFT},
        )
        if number < len(stages) - 1:
            plot.add_shape(
                type="line",
                x0=end,
                x1=end,
                y0=0,
                y1=1,
                yref="paper",
                line={"color": LINE, "width": 2},
                layer="below",
            )
        begun = end
