"""Plotly figures in the page's look, within one HTML file: Plotly once, then data for each.

Colours are names from the page's style sheet until the page is opened, so that figures are light
or dark as it is.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

import numpy.typing as npt
import plotly.graph_objects as go
from plotly.offline import get_plotlyjs

INK, SOFT, LINE = "var(--ink)", "var(--soft)", "var(--line)"
DOT, BEST, BAD = "var(--dot)", "var(--paper)", "var(--bad)"
HEAT = "var(--heat)"
"""The deep end of a scale that begins with the page's colour; text is readable on all of it."""
PALETTE = tuple(f"var(--c{number})" for number in range(1, 7))
"""For things that stand side by side; tell them apart by more than these."""

HEAD = (
    # Nothing is loaded, whatever Plotly knows how to load.
    '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; '
    "script-src 'unsafe-inline'; style-src 'unsafe-inline'; img-src data: blob:\">"
)
STYLE = """
:root { --heat: #86b4e3; --c1: #2463a8; --c2: #b3541e; --c3: #1a7f5a; --c4: #8a4f9e;
  --c5: #8a6d00; --c6: #5c6675; }
@media screen and (prefers-color-scheme: dark) { :root { --heat: #2c5f94; --c1: #6aa9ee;
  --c2: #eb9a63; --c3: #5cc79a; --c4: #c79adb; --c5: #d9b84a; --c6: #9aa4b2; } }
.plot { height: 24rem; } .plot.tall { height: 28rem; } .wide .plot { min-width: 620px; }
main > figure { margin-top: 1.4rem; }
"""
_DRAW = """
const names = ["--ink", "--soft", "--line", "--page", "--dot", "--paper", "--bad", "--heat",
  "--c1", "--c2", "--c3", "--c4", "--c5", "--c6"];
function draw() {
  const style = getComputedStyle(document.documentElement);
  for (const place of document.querySelectorAll(".plot")) {
    let text = place.nextElementSibling.textContent;
    for (const name of names)
      text = text.replaceAll(`var(${name})`, style.getPropertyValue(name).trim());
    const figure = JSON.parse(text);
    Plotly.react(place, figure.data, figure.layout, { responsive: true, displayModeBar: false });
  }
}
draw();
for (const when of ["(prefers-color-scheme: dark)", "print"])
  matchMedia(when).addEventListener("change", draw);
"""
_AXIS = {
    "gridcolor": LINE,
    "linecolor": LINE,
    "zeroline": False,
    "automargin": True,
    "title": {"font": {"size": 12}, "standoff": 8},
}
NAMES = {"type": "category", "dtick": 1}
"""An axis of names, each of which is written; Plotly would take "10" and "3" for numbers."""

_Numbers = Sequence[Any] | npt.NDArray[Any]


def label(text: str) -> str:
    """A text for Plotly, which otherwise takes what looks like tags out of it."""
    return escape(text, quote=False)


@dataclass(frozen=True, slots=True)
class Figure:
    """A plot under a heading; `words` say what it shows or, without a plot, why there is none."""

    title: str
    words: str
    plot: go.Figure | None = None
    wide: bool = False
    """Whether it scrolls sideways on a small screen instead of becoming as narrow as that."""
    tall: bool = False
    rows: int = 0
    """Lines of text that its vertical axis has to have room for; 0: as high as others are."""


@dataclass(frozen=True, slots=True)
class Look:
    """How one kind of points is drawn and called in the legend."""

    name: str
    color: str
    symbol: str = "circle"
    size: int = 8


def points(look: Look, x: _Numbers, y: _Numbers, hover: Sequence[str], **more: Any) -> go.Scatter:
    """Points with a text (escaped for Plotly) that each shows when it is pointed at."""
    return go.Scatter(
        x=x,
        y=y,
        mode="markers",
        name=look.name,
        text=hover,
        hovertemplate="%{text}<extra></extra>",
        marker={
            "color": look.color,
            "symbol": look.symbol,
            "size": look.size,
            "line": {"color": "var(--page)", "width": 1},
        },
        **more,
    )


def housed(plot: go.Figure) -> go.Figure:
    """The figure without a title or a background of its own, in the page's colours."""
    plot.update_layout(
        title=None,
        template={"layout": {"xaxis": _AXIS, "yaxis": _AXIS}},
        font={"family": "system-ui, sans-serif", "size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hoverlabel={"bgcolor": "var(--page)", "bordercolor": LINE, "font": {"color": INK}},
        legend={"orientation": "h", "x": 0, "y": 1.02, "xanchor": "left", "yanchor": "bottom"},
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        width=None,
        # A finger that scrolls over a figure scrolls the page.
        dragmode=False,
    )
    return plot


def figure_html(figure: Figure) -> str:
    """Heading, plot and words; `draw_script` fills the plot in."""
    title, words = escape(figure.title), escape(figure.words)
    note = f"<p class=note>{words}</p>"
    if figure.plot is None:
        return f"<figure><h3>{title}</h3>{note}</figure>"
    # "<" could end the script element, within any text.
    data = figure.plot.to_json().replace("<", "\\u003c")
    kind = "plot tall" if figure.tall else "plot"
    height = f' style="height: {6 + 1.4 * figure.rows:.1f}rem"' if figure.rows else ""
    place = (
        f'<div class="{kind}"{height} role="img" aria-label="{title}. {words}"></div>'
        f'<script type="application/json">{data}</script>'
    )
    if figure.wide:
        region = f'role="region" tabindex="0" aria-label="Figure: {title}"'
        place = f'<div class="scroll wide" {region}>{place}</div>'
    return f"<figure><h3>{title}</h3>{place}<figcaption>{note}</figcaption></figure>"


def draw_script() -> str:
    """Plotly itself and the lines that draw every figure above them."""
    return f"<script>{get_plotlyjs()}</script><script>{_DRAW}</script>"
