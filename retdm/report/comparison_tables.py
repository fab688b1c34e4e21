"""The tables of a comparison as plain cells, before they become Markdown or HTML.

Everything comes from the content of `compare.json` (`retdm.evaluation.summarize`).
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from retdm.evaluation.paired import SIGNIFICANT
from retdm.evaluation.table import lower_is_better

Summary = Mapping[str, Any]

_FAMILIES = {
    "Labels over the threshold": (
        "mAP",
        "CP",
        "CR",
        "CF1",
        "OP",
        "OR",
        "OF1",
        "hamming_loss",
    ),
    "Ranking of the labels": ("ranking_loss", "coverage", "one_error", "average_precision"),
    "One threshold for each label, fitted on the validation split": (
        "fitted.CF1",
        "fitted.OF1",
        "fitted.hamming_loss",
    ),
    "Three best labels of each image": ("top3.CF1", "top3.OF1", "top3_thresholded.OF1"),
}
_TESTED = ("mAP", "CF1", "OF1", "hamming_loss", "ranking_loss", "average_precision", "fitted.OF1")


@dataclass(frozen=True, slots=True)
class Cell:
    """Text, and whether it stands out."""

    text: str
    bold: bool = False


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, rows of cells under column heads, and notes."""

    title: str
    head: list[str]
    rows: list[list[Cell]]
    notes: list[str] = field(default_factory=list)


def tables(summary: Summary) -> list[Table]:
    """All tables that have something to show, in reading order."""
    out = [_family(summary, title, metrics) for title, metrics in _FAMILIES.items()]
    out += [_tested(summary), _paper(summary)]
    return [table for table in out if table is not None]


def headline(summary: Summary) -> list[str]:
    """What was compared, in short lines."""
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = [
        f"Data: {summary['data'] or 'no result yet'}, test split; "
        f"shard set {str(summary['data_digest'])[:12]}. Seeds: {seeds}.",
        "Mean ± standard deviation over seeds (n - 1). Bold: the best mean, where a paired "
        "t-test over seeds against the runner-up gives p < .05 (not corrected for the number of "
        "metrics).",
    ]
    if not summary["complete"]:
        lines.append("INCOMPLETE: some runs are missing or failed; n says how many are in.")
    several = {name: v for name, v in summary["versions"].items() if len(v) > 1}
    if several:
        found = "; ".join(f"{name} {', '.join(v)}" for name, v in several.items())
        lines.append(f"CAUTION: the runs were made under several versions: {found}.")
    lines += [f"CAUTION: {caution}." for caution in summary["cautions"]]
    return lines


def readings(summary: Summary) -> list[tuple[str, str]]:
    """Each column and the readings that its method took where the paper leaves a choice."""
    return [
        (name, "; ".join(f"{key}: {value}" for key, value in column["reading"].items()))
        for name, column in summary["columns"].items()
        if column["reading"]
    ]


def failures(summary: Summary) -> list[str]:
    """One line for each run that failed."""
    return [f"{failure['title']}: {failure['error']}" for failure in summary["failures"]]


def arrow(metric: str) -> str:
    """The metric's name with its direction."""
    return f"{metric} {'↓' if lower_is_better(metric) else '↑'}"


def p_text(p: float | None) -> str:
    """A p-value as short as it can be honest.

    Example:
        >>> p_text(0.0312), p_text(0.00001), p_text(None)
        ('p .031', 'p < .001', 'p -')
    """
    if p is None or math.isnan(p):
        return "p -"
    return "p < .001" if p < 0.001 else "p 1.0" if p >= 0.9995 else f"p {p:.3f}".replace("0.", ".")


def _family(summary: Summary, title: str, metrics: tuple[str, ...]) -> Table | None:
    columns = summary["columns"]
    present = [m for m in metrics if any(m in column["metrics"] for column in columns.values())]
    if not present:
        return None
    rows = []
    for name, column in columns.items():
        one = column["deterministic"]
        cells = [_mean(column["metrics"].get(m), _is_best(summary, m, name), one) for m in present]
        rows.append([Cell(name), Cell("1 *" if one else str(len(column["seeds"]))), *cells])
    fixed = any(column["deterministic"] for column in columns.values())
    notes = ["* the same for every seed: one result, without a spread."] if fixed else []
    return Table(title, ["method", "n", *map(arrow, present)], rows, notes)


def _is_best(summary: Summary, metric: str, name: str) -> bool:
    best = summary["best"].get(metric)
    return bool(best and best["supported"] and best["column"] == name)


def _mean(figures: Mapping[str, Any] | None, bold: bool, one: bool) -> Cell:
    if figures is None:
        return Cell("-")
    sd = figures["sd"]
    known = not one and sd is not None and not math.isnan(sd)
    return Cell(f"{figures['mean']:.4f}" + (f" ± {sd:.4f}" if known else ""), bold)


def _tested(summary: Summary) -> Table | None:
    """Differences to the baseline, with p-values."""
    baseline = summary["baseline"]
    columns = {name: c["metrics"] for name, c in summary["columns"].items() if name != baseline}
    present = [m for m in _TESTED if any("p" in c.get(m, {}) for c in columns.values())]
    if not present:
        return None
    rows = [
        [Cell(name), *(_difference(own.get(metric, {})) for metric in present)]
        for name, own in columns.items()
    ]
    return Table(
        f"Difference to {baseline}, paired over seeds",
        ["method", *map(arrow, present)],
        rows,
        ["Two-sided paired t-test over the common seeds; bold: p < .05."],
    )


def _difference(figures: Mapping[str, Any]) -> Cell:
    difference, p = figures.get("difference"), figures.get("p")
    if difference is None or math.isnan(difference):
        return Cell("-")
    sure = p is not None and p < SIGNIFICANT
    return Cell(f"{difference:+.4f} ({p_text(p)})", sure)


def _paper(summary: Summary) -> Table | None:
    """Ours beside the published figures, under the headings that the paper prints."""
    columns = {name: c for name, c in summary["columns"].items() if c["metrics"]}
    with_values = {name: c for name, c in columns.items() if c["paper"]["values"]}
    notes = [
        f"{name}: no target ({column['paper']['row'] or 'no row'}): {column['paper']['why_not']}."
        for name, column in columns.items()
        if not column["paper"]["values"]
    ]
    if not columns:
        return None
    head: list[str] = []
    for column in with_values.values():
        head += [printed for printed in column["paper"]["metrics"] if printed not in head]
    rows = []
    for name, column in with_values.items():
        paper = column["paper"]
        cells = [_beside(column["metrics"], paper, printed) for printed in head]
        rows.append([Cell(f"{name} / {paper['row']}"), *cells])
        notes.append(f"{paper['row']}: {paper['predicted']}.")
        notes += [f"{paper['row']}, corrected: {text}." for text in paper["corrections"]]
    if rows:
        title = next(iter(with_values.values()))["paper"]["table"]
        notes = [
            f"Ours / published: arXiv 2007.13547, {title}; split, backbone and training differ.",
            'Printed names mislead: the column "hamming loss" is the ranking loss of 0/1 '
            'predictions, "ranking loss" is the Hamming loss, and coverage, one error and average '
            "precision are of 0/1 predictions too (toolbox.*); coverage and average precision "
            "depend on the order of the labels, which the paper does not give.",
            *notes,
        ]
    return Table("Beside the paper", ["ours / paper's row", *head] if rows else [], rows, notes)


def _beside(metrics: Mapping[str, Any], paper: Mapping[str, Any], printed: str) -> Cell:
    metric = paper["metrics"].get(printed)
    if metric is None or metric not in metrics:
        return Cell("-")
    return Cell(f"{metrics[metric]['mean']:.4f} / {paper['values'][metric]:g}")
