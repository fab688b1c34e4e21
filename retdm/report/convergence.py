"""The convergence of one run: its loss and validation metrics by epoch (the paper's figure 6)."""

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

import plotly.graph_objects as go
from plotly.subplots import make_subplots

from retdm.report.comparison_tables import arrow
from retdm.report.plotly_figure import BEST, DOT, LINE, SOFT, Figure, housed, label

History = Sequence[Mapping[str, Any]]
"""One entry for each epoch, as in `result.json`."""


def convergence(history: History, metrics: Sequence[str]) -> Figure:
    """Loss above, each validation metric below, over the epochs of all stages in a row."""
    title = "Loss and validation by epoch"
    if not history:
        return Figure(title, "Not drawn: the run has no epoch.")
    keys = ["train/total", *(f"val/{metric}" for metric in metrics)]
    plot = make_subplots(rows=len(keys), cols=1, shared_xaxes=True, vertical_spacing=0.06)
    for row, key in enumerate(keys, start=1):
        # The stages' losses are different sums, so no line leads from one to the next.
        parts = _stages(history) if key == "train/total" else [(0, len(history), "")]
        for first, end, stage in parts:
            said = f"loss of stage {stage}" if stage else key
            plot.add_trace(
                go.Scatter(
                    x=list(range(first + 1, end + 1)),
                    y=[entry.get(key) for entry in history[first:end]],
                    mode="lines+markers",
                    name=label(said),
                    line={"color": DOT if row == 1 else BEST, "width": 2},
                    hovertemplate=f"{label(said)}: %{{y:.4f}}<extra></extra>",
                    showlegend=False,
                ),
                row=row,
                col=1,
            )
    housed(plot)
    for row, name in enumerate(["loss", *map(arrow, metrics)], start=1):
        plot.update_yaxes(title={"text": label(name)}, row=row, col=1)
    for first, end, stage in _stages(history):
        plot.add_annotation(
            text=f"stage {label(stage)}",
            x=(first + 1 + end) / 2,
            y=1.01,
            yref="paper",
            yanchor="bottom",
            showarrow=False,
            font={"color": SOFT},
        )
        if first:
            plot.add_shape(
                type="line",
                x0=first + 0.5,
                x1=first + 0.5,
                y0=0,
                y1=1,
                yref="paper",
                line={"color": LINE, "width": 2},
                layer="below",
            )
    plot.update_xaxes(
        tickvals=list(range(1, len(history) + 1)) if len(history) <= 40 else None,
        ticktext=[str(entry["epoch"]) for entry in history] if len(history) <= 40 else None,
        range=[0.5, len(history) + 0.5],
    )
    plot.update_xaxes(title={"text": "epoch of the stage"}, row=len(keys), col=1)
    words = "Vertical lines part the stages, whose losses are different sums."
    return Figure(title, words, plot, tall=True)


def _stages(history: History) -> list[tuple[int, int, str]]:
    """First and end (not included) of each stage, from 0, and its name."""
    parts, at = [], 0
    for stage, entries in groupby(history, key=lambda entry: str(entry["stage"])):
        length = len(list(entries))
        parts.append((at, at + length, stage))
        at += length
    return parts
