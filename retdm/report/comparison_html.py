"""A comparison as one HTML file that needs nothing else: no network, no scripts."""

from html import escape

from retdm.report.comparison_tables import arrow, tables
from retdm.report.comparison_text import Summary, failures, headline, readings, versions
from retdm.report.dot_plot import Dots, dot_plot
from retdm.report.table import Cell, Table

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
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #dfe3e8;
  --page: #ffffff; --dot: #2463a8; --mean: #1c2430; --paper: #b3541e; --bad: #a3201d; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2; --line: #323a45;
  --page: #14181d; --dot: #6aa9ee; --mean: #e6e9ee; --paper: #eb9a63; --bad: #f08a85; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--page);
  max-width: 1260px; margin: 2.5rem auto; padding: 0 1.25rem; overflow-wrap: anywhere; }
h1 { font-size: 1.6rem; margin: 0 0 .75rem; } h2 { font-size: 1.1rem; margin: 2.2rem 0 .6rem; }
h3 { font-size: .9rem; margin: 0 0 .3rem; font-weight: 600; }
p, li { margin: .25rem 0; } .note { color: var(--soft); font-size: .87rem; }
ul { padding-left: 1.2rem; }
.scroll { overflow-x: auto; } .scroll:focus-visible { outline: 2px solid var(--dot); }
table { border-collapse: collapse; font-size: .85rem; }
caption { position: absolute; width: 1px; height: 1px; overflow: hidden; clip-path: inset(50%); }
th, td { padding: .3rem .55rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--line); font-variant-numeric: tabular-nums; }
td small { display: block; color: var(--soft); }
th { color: var(--soft); font-weight: 600; }
th:first-child { position: sticky; left: 0; background: var(--page); text-align: left; }
[scope=row] { color: var(--ink); font-weight: 400; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(430px, 100%), 1fr));
  gap: 1.4rem; margin-top: 1rem; } .plots figure { margin: 0; }
svg { display: block; width: 100%; max-width: 540px; height: auto; }
.grid { stroke: var(--line); } .tick { fill: var(--soft); font-size: 11px; }
.name { fill: var(--ink); font-size: 12.5px; } .dot { fill: var(--dot); fill-opacity: .6; }
.mean { stroke: var(--mean); stroke-width: 2.5; } .baseline { stroke: var(--soft);
  stroke-dasharray: 4 3; } .paper { fill: none; stroke: var(--paper); stroke-width: 1.8; }
.failed { color: var(--bad); } dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0; }
@media (max-width: 600px) { body { margin: 1.25rem auto; padding: 0 .9rem; }
  [scope=row] { white-space: normal; min-width: 5.5rem; max-width: 7.5rem; } }
"""


def comparison_html(summary: Summary) -> str:
    """The whole page; `summary` is the content of `compare.json`."""
    title = f"Comparison {escape(str(summary['run']))}"
    body = [f"<h1>{title}</h1>", *(f"<p>{escape(line)}</p>" for line in headline(summary))]
    if summary["failures"]:
        body += ["<h2>Failed runs</h2>", _list(failures(summary), "failed")]
    body += _plots(summary)
    for table in tables(summary):
        body += [f"<h2>{escape(table.title)}</h2>", _table(table), _list(table.notes, "note")]
    if readings(summary):
        pairs = "".join(
            f"<dt>{escape(name)}</dt><dd class=note>{escape(text)}</dd>"
            for name, text in readings(summary)
        )
        body += ["<h2>Readings</h2>", f"<dl>{pairs}</dl>"]
    body.append(f"<p class=note>{escape(versions(summary))}</p>")
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{_STYLE}</style></head>\n<body><main>\n"
        + "\n".join(part for part in body if part)
        + "\n</main></body></html>\n"
    )


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


def _table(table: Table) -> str:
    """Wide ones scroll sideways within the page, by keys too; the rows' names stay in sight."""
    if not table.rows:
        return ""
    title = escape(table.title)
    head = "".join(f'<th scope="col">{escape(text)}</th>' for text in table.head)
    rows = "".join(
        f'<tr><th scope="row">{escape(name.text)}</th>{"".join(map(_cell, cells))}</tr>'
        for name, *cells in table.rows
    )
    return (
        f'<div class="scroll" role="region" tabindex="0" aria-label="Table: {title}">'
        f"<table><caption>{title}</caption><thead><tr>{head}</tr></thead>"
        f"<tbody>{rows}</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    text = escape(cell.text)
    if cell.bold:
        text = f"<b>{text}</b>"
    if cell.detail:
        # A line of its own, or seven columns of two p-values fill two screens.
        text += f" <small>({escape(cell.detail)})</small>"
    return f"<td>{text}</td>"


def _list(lines: list[str], kind: str) -> str:
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""
