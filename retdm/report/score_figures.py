"""What the scores of runs look like: each label's AP, precision against recall, calibration."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from retdm.evaluation.inputs import Scores, Targets
from retdm.evaluation.per_label import average_precision_per_label
from retdm.evaluation.reliability import reliability
from retdm.evaluation.trade_off import TradeOff, trade_off
from retdm.report.plotly_figure import PALETTE, SOFT, Figure, housed, label
from retdm.report.run_course import DASHES
from retdm.report.table import Cell, Table

_SYMBOLS = ("circle", "diamond", "square", "x", "triangle-up", "cross")
_POINTS = 200
_BINS = 10
_CURVES = 5
"""Labels whose curves are drawn."""


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
    order = np.argsort(-np.nan_to_num(values[0], nan=-1.0), kind="stable")
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
    plot.layout.yaxis.update(dtick=1, tickfont={"size": 11}, autorange="reversed")
    plot.update_layout(barmode="group", bargap=0.25)
    best, worst = order[0], order[-1]
    words = (
        "A bar for each label and run, with the number of images that have the label in "
        f"brackets; a stroke is the share of images with it, which guessing reaches. Highest: "
        f"{first.labels[best]}, {values[0][best]:.3f}; lowest: {first.labels[worst]}, "
        f"{values[0][worst]:.3f}{f' ({first.name})' if len(all_scored) > 1 else ''}."
    )
    rows = [
        [Cell(first.labels[at]), Cell(str(counts[at])), *(Cell(_ap(own[at])) for own in values)]
        for at in order
    ]
    head = ["label", "images", *(f"AP {one.name}" for one in all_scored)]
    return (
        Figure(title, words, plot, rows=max(len(names) * (1 + len(all_scored)) // 2, 6)),
        Table(f"{title}, in numbers", head, rows),
    )


def _ap(value: float) -> str:
    return "n/a" if np.isnan(value) else f"{value:.4f}"


def micro_figure(all_scored: Sequence[Scored]) -> Figure:
    """Precision against recall over all cells, of each run."""
    curves = {one.name: trade_off(one.scores.ravel(), one.targets.ravel()) for one in all_scored}
    words = (
        "Every image and label is one decision, all in one list (micro); a line shows what "
        "precision is left as the threshold falls and recall rises: the further up and right the "
        "better. A sign marks the threshold that predicts: "
    )
    marked = {one.name: one.threshold for one in all_scored}
    return _curves("Precision against recall, all labels", words, curves, marked)


def label_curves(one: Scored) -> Figure:
    """The same for a few labels of one run: the best, the worst, and those between."""
    known = average_precision_per_label(one.scores, one.targets)
    order = [int(at) for at in np.argsort(-known, kind="stable") if not np.isnan(known[at])]
    picks = np.unique(np.linspace(0, len(order) - 1, min(_CURVES, len(order))).round().astype(int))
    chosen = [order[at] for at in picks] if order else []
    curves = {
        f"{one.labels[at]} (AP {known[at]:.3f})": trade_off(one.scores[:, at], one.targets[:, at])
        for at in chosen
    }
    words = (
        "The labels with the highest and the lowest average precision and some between, each by "
        "itself; the area under a line is that label's average precision. A sign marks the "
        "threshold that predicts: "
    )
    title = f"Precision against recall, single labels of {one.name}"
    return _curves(title, words, curves, dict.fromkeys(curves, one.threshold))


def _curves(
    title: str,
    words: str,
    curves: dict[str, TradeOff | None],
    marked: dict[str, float],
) -> Figure:
    known = {name: curve for name, curve in curves.items() if curve is not None}
    if not known:
        return Figure(title, "Not drawn: no image has a label.")
    plot, said = go.Figure(), []
    for number, (name, curve) in enumerate(known.items()):
        thin = curve.thinned(_POINTS)
        color = PALETTE[number % len(PALETTE)]
        plot.add_trace(
            go.Scatter(
                x=thin.recall.round(5),
                y=thin.precision.round(5),
                mode="lines",
                name=label(name),
                legendgroup=str(number),
                line={"color": color, "width": 2, "dash": DASHES[number % len(DASHES)]},
                text=[f"{value:.3f}" for value in thin.threshold],
                hovertemplate="precision %{y:.3f}, recall %{x:.3f}, threshold %{text}"
                f"<extra>{label(name)}</extra>",
            )
        )
        over = int(np.count_nonzero(curve.threshold >= marked[name])) - 1
        if over < 0:
            said.append(f"{name} none over it")
            continue
        precision, recall = float(curve.precision[over]), float(curve.recall[over])
        said.append(f"{name} precision {precision:.3f}, recall {recall:.3f}")
        plot.add_trace(
            go.Scatter(
                x=[recall],
                y=[precision],
                mode="markers",
                legendgroup=str(number),
                showlegend=False,
                marker={"color": color, "size": 11, "symbol": _SYMBOLS[number % len(_SYMBOLS)]},
                hovertemplate=f"threshold {marked[name]:g}: precision %{{y:.3f}}, recall "
                f"%{{x:.3f}}<extra>{label(name)}</extra>",
            )
        )
    housed(plot)
    plot.layout.xaxis.update(title={"text": "recall"}, range=[0, 1.02])
    plot.layout.yaxis.update(title={"text": "precision"}, range=[0, 1.02])
    return Figure(title, f"{words}{'; '.join(said)}.", plot, tall=True)


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
                marker={"symbol": _SYMBOLS[number % len(_SYMBOLS)], "size": 8},
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
