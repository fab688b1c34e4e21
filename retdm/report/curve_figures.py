"""Precision against recall: of runs over all labels, and of single labels of one run."""

from collections.abc import Sequence

import numpy as np
import plotly.graph_objects as go

from retdm.evaluation.per_label import average_precision_per_label
from retdm.evaluation.trade_off import TradeOff, trade_off
from retdm.report.plotly_figure import PALETTE, Figure, housed, label
from retdm.report.run_course import DASHES
from retdm.report.score_figures import SYMBOLS, Scored

_POINTS = 200
_CURVES = 5
"""Labels whose curves are drawn."""


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
            said.append(f"{name} predicts nothing")
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
                marker={"color": color, "size": 11, "symbol": SYMBOLS[number % len(SYMBOLS)]},
                hovertemplate=f"threshold {marked[name]:g}: precision %{{y:.3f}}, recall "
                f"%{{x:.3f}}<extra>{label(name)}</extra>",
            )
        )
    housed(plot)
    plot.layout.xaxis.update(title={"text": "recall"}, range=[0, 1.02])
    plot.layout.yaxis.update(title={"text": "precision"}, range=[0, 1.02])
    return Figure(title, f"{words}{'; '.join(said)}.", plot, tall=True)
