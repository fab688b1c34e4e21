"""What the scores of runs are worth: the average precision of each label, and calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from retdm.evaluation.inputs import Scores, Targets
from retdm.evaluation.per_label import average_precision_per_label
from retdm.evaluation.reliability import reliability
from retdm.report.plotly_figure import NAMES, PALETTE, SOFT, Figure, housed, label
from retdm.report.table import Cell, Table

SYMBOLS = ("circle", "diamond", "square", "x", "triangle-up")
_BINS = 10
_BARS = 100
"""Labels that have a bar: the most frequent ones."""


@dataclass(frozen=True, eq=False)
class Scored:
    """The scores that a run gave the images of a split."""

    name: str
    """Of the run."""
    labels: Sequence[str]
    scores: Scores
    targets: Targets
    threshold: float
    """A label is predicted from this score on."""

    @property
    def predicted(self) -> npt.NDArray[np.bool_]:
        """The labels over the threshold."""
        return np.asarray(self.scores >= self.threshold)


def label_figure(all_scored: Sequence[Scored]) -> tuple[Figure, Table]:
    """The average precision of each label, the best first, and the same as a table."""
    title = "Average precision of each label"
    first = all_scored[0]
    counts = first.targets.sum(axis=0)
    values = [average_precision_per_label(one.scores, one.targets) for one in all_scored]
    ranked = np.argsort(-np.nan_to_num(values[0], nan=-1.0), kind="stable")
    frequent = np.argsort(-counts, kind="stable")[:_BARS]
    order = ranked[np.isin(ranked, frequent)]
    names = [f"{first.labels[at]} ({counts[at]})" for at in order]
    plot = go.Figure()
    for number, (one, own) in enumerate(zip(all_scored, values, strict=True)):
        plot.add_trace(
            go.Bar(
                y=list(map(label, names)),
                x=own[order],
                orientation="h",
                name=label(one.name),
                marker={"color": PALETTE[number % len(PALETTE)]},
                hovertemplate="%{y}: %{x:.4f}<extra></extra>",
                showlegend=len(all_scored) > 1,
            )
        )
    plot.add_trace(
        go.Scatter(
            y=list(map(label, names)),
            x=(counts / len(first.targets))[order],
            mode="markers",
            name="share of the images with it",
            marker={"symbol": "line-ns", "size": 12, "line": {"color": "var(--ink)", "width": 2}},
            hovertemplate="%{y}: share %{x:.4f}<extra></extra>",
        )
    )
    housed(plot)
    plot.layout.xaxis.update(title={"text": "average precision ↑"}, range=[0, 1.02])
    plot.layout.yaxis.update(NAMES, tickfont={"size": 11}, range=[len(names) - 0.5, -0.5])
    plot.update_layout(barmode="group", bargap=0.25)
    words = (
        "A bar for each label and run, with the number of images that have the label in "
        "brackets; a stroke is the share of images with it, which guessing reaches."
    )
    known = [at for at in order if not np.isnan(values[0][at])]
    if known:
        ends = [f"{first.labels[at]}, {values[0][at]:.3f}" for at in (known[0], known[-1])]
        words += f" Of {first.name}, highest: {ends[0]}; lowest: {ends[1]}."
    if len(order) < len(ranked):
        words += f" Drawn are the {len(order)} most frequent of {len(ranked)} labels."
    rows = [
        [Cell(first.labels[at]), Cell(str(counts[at])), *(Cell(_ap(own[at])) for own in values)]
        for at in ranked
    ]
    head = ["label", "images", *(f"AP {one.name}" for one in all_scored)]
    return (
        Figure(title, words, plot, rows=max(round(len(names) * (0.7 + 0.3 * len(all_scored))), 6)),
        Table(f"{title}, in numbers", head, rows),
    )


def _ap(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.4f}"


def reliability_figure(all_scored: Sequence[Scored]) -> Figure:
    """Whether scores are probabilities, of each run."""
    title = "Calibration: scores against what is true"
    plot = make_subplots(
        rows=2, cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[3, 1]
    )
    plot.add_trace(
        go.Scatter(
            x=[0, 1],
            y=[0, 1],
            mode="lines",
            name="as good as said",
            line={"color": SOFT, "width": 1.5, "dash": "dot"},
            hoverinfo="skip",
        ),
        row=1,
        col=1,
    )
    said = []
    for number, one in enumerate(all_scored):
        found = reliability(one.scores, one.targets, bins=_BINS)
        there = found.cells > 0
        color = PALETTE[number % len(PALETTE)]
        plot.add_trace(
            go.Scatter(
                x=found.score[there].round(5),
                y=found.share[there].round(5),
                mode="lines+markers",
                name=label(one.name),
                legendgroup=str(number),
                line={"color": color, "width": 2},
                marker={"symbol": SYMBOLS[number % len(SYMBOLS)], "size": 8},
                text=found.cells[there],
                hovertemplate="mean score %{x:.3f}, true %{y:.3f}, %{text} cells<extra></extra>",
            ),
            row=1,
            col=1,
        )
        plot.add_trace(
            go.Bar(
                x=(np.arange(_BINS) + 0.5) / _BINS,
                y=found.cells,
                legendgroup=str(number),
                showlegend=False,
                marker={"color": color},
                hovertemplate="%{y} cells<extra></extra>",
            ),
            row=2,
            col=1,
        )
        said.append(f"{one.name} {found.error:.4f}")
    housed(plot)
    plot.update_yaxes(title={"text": "share true"}, range=[0, 1.02], row=1, col=1)
    plot.update_yaxes(title={"text": "cells"}, type="log", dtick=1, row=2, col=1)
    plot.update_xaxes(range=[0, 1.02], row=1, col=1)
    plot.update_xaxes(title={"text": "score"}, range=[0, 1.02], row=2, col=1)
    words = (
        f"All images and labels in {_BINS} bins by score: above the dotted line labels are true "
        "more often than their scores say, below it less often; bars count what is in each bin, "
        "on a logarithmic axis. Mean distance from the line over all cells (expected calibration "
        f"error): {'; '.join(said)}."
    )
    return Figure(title, words, plot, tall=True)
