"""A comparison as one HTML file that needs nothing else: no network, no scripts."""

from html import escape

from retdm.report.comparison_tables import arrow, tables
from retdm.report.comparison_text import Summary, failures, headline, readings, versions
from retdm.report.dot_plot import Dots, dot_plot
from retdm.report.html_page import html_list, html_page, table_section

_PLOTTED = (
    "mAP",
    "OF1",
    "CF1",
    "hamming_loss",
    "ranking_loss",
    "average_precision",
    "fitted.OF1",
    "top3.OF1",
)
_STYLE = """
svg { display: block; width: 100%; max-width: 540px; height: auto; }
.grid { stroke: var(--line); } .tick { fill: var(--soft); font-size: 11px; }
.name { fill: var(--ink); font-size: 12.5px; } .dot { fill: var(--dot); fill-opacity: .6; }
.mean { stroke: var(--mean); stroke-width: 2.5; } .baseline { stroke: var(--soft);
  stroke-dasharray: 4 3; } .paper { fill: none; stroke: var(--paper); stroke-width: 1.8; }
"""


def comparison_html(summary: Summary) -> str:
    """The whole page; `summary` is the content of `compare.json`."""
    title = f"Comparison {summary['run']}"
    body = [f"<h1>{escape(title)}</h1>", *(f"<p>{escape(line)}</p>" for line in headline(summary))]
    if summary["failures"]:
        body += ["<h2>Failed runs</h2>", html_list(failures(summary), "failed")]
    body += _plots(summary)
    for table in tables(summary):
        body += table_section(table)
    if readings(summary):
        pairs = "".join(
            f"<dt>{escape(name)}</dt><dd class=note>{escape(text)}</dd>"
            for name, text in readings(summary)
        )
        body += ["<h2>Readings</h2>", f"<dl>{pairs}</dl>"]
    body.append(f"<p class=note>{escape(versions(summary))}</p>")
    return html_page(title, body, style=_STYLE)


def _plots(summary: Summary) -> list[str]:
    figures = []
    for metric in _PLOTTED:
        lines = [
            Dots(
                name,
                column["metrics"][metric]["values"],
                column["paper"]["values"].get(metric),
            )
            for name, column in summary["columns"].items()
            if metric in column["metrics"]
        ]
        if lines:
            plot = dot_plot(metric, lines, baseline=summary["baseline"])
            figures.append(f"<figure><h3>{escape(arrow(metric))}</h3>{plot}</figure>")
    if not figures:
        return []
    caption = "A dot for each seed, a bar at the mean"
    if summary["baseline"]:
        caption += f", dashed: the mean of {summary['baseline']}"
    if any(column["paper"]["values"] for column in summary["columns"].values()):
        caption += ", diamond: published value, if near (other split, backbone and training)"
    return [
        "<h2>Every run</h2>",
        f"<p class=note>{escape(caption)}.</p>",
        f"<div class=plots>{''.join(figures)}</div>",
    ]
