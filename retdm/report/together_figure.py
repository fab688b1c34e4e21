"""Which labels come together in truth, and which a run predicts together: two heat maps."""

import numpy as np
import numpy.typing as npt
import plotly.graph_objects as go
from plotly.subplots import make_subplots

from retdm.evaluation.together import together
from retdm.report.plotly_figure import HEAT, NAMES, Figure, housed, label
from retdm.report.score_figures import Scored

_MOST = 30
"""Labels shown: the most frequent ones."""
_WITH_NUMBERS = 8


def together_figure(one: Scored) -> Figure:
    """Conditional shares in the targets beside those of the labels over the threshold."""
    title = f"Labels that come together, true and predicted by {one.name}"
    counts = one.targets.sum(axis=0)
    chosen = np.sort(np.argsort(-counts, kind="stable")[:_MOST])
    names = [one.labels[at] for at in chosen]
    truth = together(one.targets)[np.ix_(chosen, chosen)]
    said = together(one.predicted)[np.ix_(chosen, chosen)]
    plot = make_subplots(
        rows=1,
        cols=2,
        shared_yaxes=True,
        horizontal_spacing=0.03,
        subplot_titles=["true", "predicted"],
    )
    for column, values in ((1, truth), (2, said)):
        plot.add_trace(_map(values, list(map(label, names))), row=1, col=column)
    housed(plot)
    plot.update_annotations(font={"size": 12})
    plot.update_xaxes(NAMES, showgrid=False, side="bottom", tickangle=-50)
    plot.update_yaxes(NAMES, showgrid=False, autorange="reversed")
    plot.update_layout(
        coloraxis={
            "colorscale": [[0, "var(--page)"], [1, HEAT]],
            "cmin": 0,
            "cmax": 1,
            "colorbar": {
                "thickness": 10,
                "lenmode": "pixels",
                "len": 180,
                "title": {"text": "share", "font": {"size": 12}},
            },
        }
    )
    words = (
        "Of the images with the row's label, the share that has the column's too: on the left as "
        "the images are labelled, on the right as the run labels them (scores from "
        f"{one.threshold:g} on). Alike is good. {_furthest(truth, said, names)}"
    )
    if np.isnan(said).any():
        words += " Empty rows are of labels that it never predicts."
    if len(names) < len(one.labels):
        words += f" The {len(names)} most frequent of {len(one.labels)} labels."
    return Figure(title, words, plot, wide=True, rows=max(len(names), 10))


def _map(values: npt.NDArray[np.float64], names: list[str]) -> go.Heatmap:
    few = len(names) <= _WITH_NUMBERS
    return go.Heatmap(
        z=values.round(4),
        x=names,
        y=names,
        coloraxis="coloraxis",
        texttemplate="%{z:.2f}" if few else None,
        xgap=1,
        ygap=1,
        hovertemplate="with %{y}: %{z:.3f} have %{x}<extra></extra>",
    )


def _furthest(
    truth: npt.NDArray[np.float64], said: npt.NDArray[np.float64], names: list[str]
) -> str:
    """The pair in which the two maps differ most, as a sentence; "" if none can be compared."""
    apart = np.nan_to_num(np.abs(truth - said), nan=0.0)
    if not apart.any():
        return ""
    row, column = np.unravel_index(int(apart.argmax()), apart.shape)
    return (
        f"Furthest apart: with {names[row]}, {truth[row, column]:.2f} have {names[column]}, and "
        f"{said[row, column]:.2f} are predicted to."
    )
