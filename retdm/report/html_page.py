"""What every HTML page of this package shares: frame, style sheet, tables and lists.

A page is one file that needs nothing else: no network.
"""

from html import escape

from retdm.report.table import Cell, Table

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --soft: #5c6675; --line: #dfe3e8;
  --page: #ffffff; --dot: #2463a8; --mean: #1c2430; --paper: #b3541e; --bad: #a3201d; }
@media screen and (prefers-color-scheme: dark) { :root { --ink: #e6e9ee; --soft: #9aa4b2;
  --line: #323a45; --page: #14181d; --dot: #6aa9ee; --mean: #e6e9ee; --paper: #eb9a63;
  --bad: #f08a85; } }
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
.prose { text-align: left; white-space: normal; min-width: 14rem; }
th { color: var(--soft); font-weight: 600; }
th:first-child { position: sticky; left: 0; background: var(--page); text-align: left; }
[scope=row] { color: var(--ink); font-weight: 400; }
.plots { display: grid; grid-template-columns: repeat(auto-fill, minmax(min(430px, 100%), 1fr));
  gap: 1.4rem; margin-top: 1rem; } figure { margin: 0; min-width: 0; }
.failed { color: var(--bad); } dt { font-weight: 600; margin-top: .5rem; } dd { margin: 0; }
@media print { body { max-width: none; margin: 0; } .scroll { overflow: visible; }
  figure, tr { break-inside: avoid; } h2, h3 { break-after: avoid; } }
@media (max-width: 600px) { body { margin: 1.25rem auto; padding: 0 .9rem; }
  [scope=row] { white-space: normal; overflow-wrap: break-word; max-width: 7.5rem; } }
"""


def html_page(title: str, body: list[str], *, head: str = "", style: str = "") -> str:
    """The file; `title` is plain text, all else is HTML (`style`: rules of this page alone)."""
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"{head}<title>{escape(title)}</title><style>{_STYLE}{style}</style></head>\n"
        "<body><main>\n" + "\n".join(part for part in body if part) + "\n</main></body></html>\n"
    )


def table_section(table: Table, *, level: int = 2) -> list[str]:
    """A table under its heading, with its notes."""
    return [
        f"<h{level}>{escape(table.title)}</h{level}>",
        _table(table),
        html_list(table.notes, "note"),
    ]


def html_list(lines: list[str], kind: str) -> str:
    """Lines of plain text as items of a list of the class `kind`; nothing for none."""
    items = "".join(f"<li>{escape(line)}</li>" for line in lines)
    return f'<ul class="{kind}">{items}</ul>' if items else ""


def _table(table: Table) -> str:
    """Wide ones scroll sideways within the page, by keys too; the rows' names stay in sight."""
    if not table.rows:
        return ""
    title = escape(table.title)
    prose = [any(row[i].prose for row in table.rows) for i in range(len(table.head))]
    head = "".join(
        f'<th scope="col"{" class=prose" if is_prose else ""}>{escape(text)}</th>'
        for text, is_prose in zip(table.head, prose, strict=True)
    )
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
    return f'<td class="prose">{text}</td>' if cell.prose else f"<td>{text}</td>"
