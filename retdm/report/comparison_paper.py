"""The table of a comparison that stands ours beside the published figures."""

from collections.abc import Mapping
from typing import Any

from retdm.report.comparison_text import Summary
from retdm.report.table import Cell, Table

Columns = Mapping[str, Any]


def paper_table(summary: Summary) -> Table | None:
    """Ours beside the published figures, under the headings that the paper prints.

    Every published row of the data set is a target here or its note says why not; so is every
    column with results.
    """
    columns = {name: c for name, c in summary["columns"].items() if c["metrics"]}
    if not columns:
        return None
    targets = {name: c for name, c in columns.items() if c["paper"]["values"]}
    head = list(
        dict.fromkeys(printed for c in targets.values() for printed in c["paper"]["metrics"])
    )
    rows = [
        [
            Cell(f"{name} / {column['paper']['row']}"),
            *(_beside(column["metrics"], column["paper"], printed) for printed in head),
        ]
        for name, column in targets.items()
    ]
    notes = [
        *_introduction(targets),
        *_predicted(targets),
        *_corrections(targets),
        *_no_targets({name: c for name, c in columns.items() if name not in targets}),
        *(f"No column here: {note}." for note in summary["other_rows"]),
    ]
    return Table("Beside the paper", ["ours / paper's row", *head] if rows else [], rows, notes)


def _introduction(targets: Columns) -> list[str]:
    if not targets:
        return []
    title = next(iter(targets.values()))["paper"]["table"]
    return [
        f"Ours / published: arXiv 2007.13547, {title}; split, backbone and training differ.",
        'Printed names mislead: the column "hamming loss" is the ranking loss of 0/1 '
        'predictions, "ranking loss" is the Hamming loss, and coverage, one error and average '
        "precision are of 0/1 predictions too (toolbox.*); coverage and average precision "
        "depend on the order of the labels, which the paper does not give.",
    ]


def _predicted(targets: Columns) -> list[str]:
    """Which labels the rows' figures are of; rows of one kind together."""
    rows: dict[str, list[str]] = {}
    for column in targets.values():
        paper = column["paper"]
        rows.setdefault(paper["predicted"], []).append(paper["row"])
    return [f"{_names(of)}: {predicted}." for predicted, of in rows.items()]


def _corrections(targets: Columns) -> list[str]:
    return list(
        dict.fromkeys(
            f"{column['paper']['row']}, corrected: {text}."
            for column in targets.values()
            for text in column["paper"]["corrections"]
        )
    )


def _no_targets(columns: Columns) -> list[str]:
    """Why columns have no published value beside them; those of one reason together."""
    reasons: dict[str, list[str]] = {}
    for name, column in columns.items():
        reasons.setdefault(column["paper"]["why_not"], []).append(name)
    return [
        f"{', '.join(of)}: no target ({_names([columns[n]['paper']['row'] for n in of])}): {why}."
        for why, of in reasons.items()
    ]


def _names(rows: list[str]) -> str:
    return ", ".join(dict.fromkeys(row or "no row" for row in rows))


def _beside(metrics: Mapping[str, Any], paper: Mapping[str, Any], printed: str) -> Cell:
    metric = paper["metrics"].get(printed)
    if metric is None or metric not in metrics:
        return Cell("-")
    return Cell(f"{metrics[metric]['mean']:.4f} / {paper['values'][metric]:g}")
