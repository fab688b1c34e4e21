"""A comparison as Markdown, for a README or an issue."""

from retdm.report.comparison_tables import tables
from retdm.report.comparison_text import Summary, failures, headline, readings, versions
from retdm.report.table import Cell, Table


def comparison_markdown(summary: Summary) -> str:
    """The whole page; `summary` is the content of `compare.json`."""
    blocks = [f"# Comparison {summary['run']}", *headline(summary)]
    for table in tables(summary):
        blocks += [f"## {table.title}", *_table(table)]
    if summary["failures"]:
        blocks += ["## Failed runs", _list(failures(summary))]
    if readings(summary):
        lines = [f"**{_escape(name)}**: {_escape(text)}" for name, text in readings(summary)]
        blocks += ["## Readings", _list(lines, escape=False)]
    return "\n\n".join([*blocks, _escape(versions(summary))]) + "\n"


def _table(table: Table) -> list[str]:
    blocks = []
    if table.rows:
        lines = [
            _row([_escape(head) for head in table.head]),
            _row(["---", *["---:"] * (len(table.head) - 1)]),
            *(_row([_cell(cell) for cell in row]) for row in table.rows),
        ]
        blocks.append("\n".join(lines))
    if table.notes:
        blocks.append(_list(table.notes))
    return blocks


def _row(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(cell: Cell) -> str:
    text = f"**{_escape(cell.text)}**" if cell.bold else _escape(cell.text)
    return f"{text} ({_escape(cell.detail)})" if cell.detail else text


def _list(lines: list[str], *, escape: bool = True) -> str:
    return "\n".join(f"- {_escape(line) if escape else line}" for line in lines)


def _escape(text: str) -> str:
    """Keep tables whole and words plain; an error's text may hold anything."""
    flat = " ".join(text.split())
    for mark in "\\|*_`<":
        flat = flat.replace(mark, "\\" + mark)
    return flat
