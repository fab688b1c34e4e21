"""The table of metrics that programs print, with the published values beside them."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from retdm.evaluation.published import (
    PublishedRow,
    PublishedTable,
    paper_name,
    printed_names,
    published_table,
    target_notes,
)

Values = Mapping[str, float | None]

_LOWER_IS_BETTER = ("hamming_loss", "ranking_loss", "coverage", "one_error")
_PAPER_ROWS = ("BCE", "RETDM", "CNN-RNN")
_SECTIONS = {
    "": "standard definitions",
    "top3.": "three best labels of each image",
    "top3_thresholded.": "three best labels, if over the threshold",
    "fitted.": "one threshold for each label, fitted on the validation split",
    "toolbox.": "as in the paper's tables: ranking metrics of 0/1 predictions",
}
_SKIPPED = {
    "skipped.mAP": ("mAP", "labels that no image has"),
    "skipped.one_error": ("one_error", "images without a label"),
    "skipped.toolbox": (
        "toolbox.ranking_loss, .one_error and .average_precision",
        "images with no label or all",
    ),
}


def metric_table(
    columns: Mapping[str, Values],
    *,
    dataset: str = "",
    method: str = "",
) -> str:
    """Lay out metrics by family, one column for each set of results.

    Args:
        columns: Heading to metrics from `evaluate`: for example the `metrics` of a result.json
            (one column for each split), or method names and their test metrics. A metric that
            a column lacks is shown as "-", an undefined one (NaN or None) as "n/a".
        dataset: Name of the data set; if the paper has a table for it, its values are added
            under the metrics that they really are, and the notes below say which of its rows
            are usable as targets and why the others are not.
        method: Whose row of that table is shown beside those of BCE, RETDM and CNN-RNN, as far
            as they exist and can be compared; "" for these three alone.

    Returns:
        Lines of ASCII text, without a newline at the end.

    Example:
        >>> print(metric_table({"val": {"mAP": 0.5}, "test": {"mAP": 0.25}}))
        metric  better     val    test
        <BLANKLINE>
        standard definitions
          mAP   higher  0.5000  0.2500
    """
    laid = lay_out(columns, dataset=dataset, methods=[method])
    lines = [laid.head]
    for title, rows in laid.families.items():
        lines += [[], [title], *([f"  {name}", *cells] for name, *cells in rows)]
    blocks = ["\n".join(notes) for notes in (laid.left_out, laid.notes) if notes]
    return "\n\n".join([_aligned(lines), *blocks])


@dataclass(frozen=True, slots=True)
class LaidOut:
    """A table of metrics as plain cells."""

    head: list[str]
    families: dict[str, list[list[str]]]
    """By title; each row begins with the metric's name."""
    left_out: list[str]
    """What the averages do not contain."""
    notes: list[str]
    """How far the paper's figures can be compared."""


def lay_out(
    columns: Mapping[str, Values], *, dataset: str = "", methods: Sequence[str] = ()
) -> LaidOut:
    """What `metric_table` shows, with the published rows of several methods."""
    paper = published_table(dataset)
    wanted = (*_PAPER_ROWS, *map(paper_name, methods))
    rows = _comparable(paper, list(dict.fromkeys(wanted)))
    printed = printed_names() if rows else {}
    names = list(dict.fromkeys(name for values in columns.values() for name in values))
    head = ["metric", "better", *columns, *(f"{row.method} (paper)" for row in rows), ""]
    families = {
        title: [
            [
                name,
                "lower" if lower_is_better(name) else "higher",
                *(_cell(values, name) for values in columns.values()),
                *(_number(row.values[name]) if name in row.values else "" for row in rows),
                f'printed as "{printed[name]}"' if name in printed else "",
            ]
            for name in names
            if _prefix(name) == prefix
        ]
        for prefix, title in _SECTIONS.items()
    }
    shown = {title: rows for title, rows in families.items() if rows}
    return LaidOut(head, shown, _left_out(columns), _notes(paper, rows))


def lower_is_better(metric: str) -> bool:
    """Whether smaller values of the metric are better; whatever family it is of.

    Example:
        >>> lower_is_better("toolbox.coverage"), lower_is_better("mAP")
        (True, False)
    """
    return metric.rpartition(".")[2] in _LOWER_IS_BETTER


def _comparable(paper: PublishedTable | None, methods: Sequence[str]) -> list[PublishedRow]:
    found = [paper.row(method) for method in methods] if paper else []
    return [row for row in found if row and row.values]


def _prefix(name: str) -> str:
    return f"{name.split('.')[0]}." if "." in name else ""


def _cell(values: Values, name: str) -> str:
    return _number(values[name]) if name in values else "-"


def _number(value: float | None) -> str:
    return "n/a" if value is None or math.isnan(value) else f"{value:.4f}"


def _aligned(rows: list[list[str]]) -> str:
    """Names flush left, numbers flush right; rows of one cell are headings and set no width."""
    full = [row for row in rows if len(row) > 1]
    widths = [max(map(len, column)) for column in zip(*full, strict=True)]
    left = (0, 1, len(widths) - 1)
    out = []
    for row in rows:
        cells = [
            cell.ljust(width) if i in left else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=len(row) > 1))
        ]
        out.append("  ".join(cells).rstrip())
    return "\n".join(out)


def _left_out(columns: Mapping[str, Values]) -> list[str]:
    """What the averages do not contain."""
    return [
        f"not counted in {metrics} ({head}): {what}, {values[name]:.0f}"
        for head, values in columns.items()
        for name, (metrics, what) in _SKIPPED.items()
        if values.get(name)
    ]


def _notes(paper: PublishedTable | None, rows: Sequence[PublishedRow]) -> list[str]:
    """How far the paper's figures can be compared."""
    if not paper or not rows:
        return []
    return [
        f"paper: arXiv 2007.13547, {paper.title}",
        *target_notes(paper),
        "toolbox.coverage and toolbox.average_precision depend on the order of the labels, which "
        "the paper does not give",
        *(f"corrected: {row.method} {note}" for row in rows for note in row.corrections),
    ]
