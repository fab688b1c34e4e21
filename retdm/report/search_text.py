"""A search in a few lines for the terminal: how it ended and its trials, the best first."""

from retdm.report.search_tables import trials_table
from retdm.report.search_words import Summary, headline

_ROWS = 20


def search_text(summary: Summary) -> str:
    """The lines, without a newline at the end; of a long search the first trials alone."""
    table = trials_table(summary)
    # Why each ended is a sentence, which the page and `tune.json` hold.
    rows = [[cell.text for cell in row[:-1]] for row in table.rows]
    lines = [*headline(summary)]
    if rows:
        lines += ["", *_aligned([table.head[:-1], *rows[:_ROWS]])]
    if len(rows) > _ROWS:
        lines.append(f"... and {len(rows) - _ROWS} more")
    return "\n".join(lines)


def _aligned(rows: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
