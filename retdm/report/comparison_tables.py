"""The tables of a comparison: means, and differences to the baseline with their p-values."""

import math
from collections.abc import Mapping
from typing import Any

from retdm.evaluation.paired import SIGNIFICANT
from retdm.evaluation.table import lower_is_better
from retdm.report.comparison_paper import paper_table
from retdm.report.comparison_text import ONE_SPLIT, Summary
from retdm.report.table import Cell, Table

_FAMILIES = {
    "Labels over the threshold": (
        "mAP",
        "CP",
        "CR",
        "CF1",
        "CF1_mean",
        "OP",
        "OR",
        "OF1",
        "hamming_loss",
    ),
    "Ranking of the labels": ("ranking_loss", "coverage", "one_error", "average_precision"),
    "One threshold for each label, fitted on the validation split": (
        "fitted.CF1",
        "fitted.CF1_mean",
        "fitted.OF1",
        "fitted.hamming_loss",
    ),
    "Three best labels of each image": (
        "top3.CF1",
        "top3.OF1",
        "top3_thresholded.CF1",
        "top3_thresholded.OF1",
    ),
}
_TESTED = ("mAP", "CF1", "OF1", "hamming_loss", "ranking_loss", "average_precision", "fitted.OF1")


def tables(summary: Summary) -> list[Table]:
    """All tables that have something to show, in reading order."""
    out = [_family(summary, title, metrics) for title, metrics in _FAMILIES.items()]
    out += [_tested(summary), paper_table(summary), _time(summary)]
    return [table for table in out if table is not None]


def arrow(metric: str) -> str:
    """The metric's name with its direction."""
    return f"{metric} {'↓' if lower_is_better(metric) else '↑'}"


def p_text(p: float | None) -> str:
    """A p-value as short as it can be honest.

    Example:
        >>> p_text(0.0312), p_text(0.00001), p_text(None)
        ('p .031', 'p < .001', 'p -')
    """
    return f"p {_p_number(p)}"


def _p_number(p: float | None) -> str:
    if p is None or math.isnan(p):
        return "-"
    return "< .001" if p < 0.001 else "1.0" if p >= 0.9995 else f"{p:.3f}".removeprefix("0")


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
    notes = []
    if any(metric.endswith("CF1_mean") for metric in present):
        notes.append("CF1 is the harmonic mean of CP and CR, CF1_mean the mean of the labels' F1.")
    if any(column["deterministic"] for column in columns.values()):
        notes.append("* the same for every seed: one result, without a spread.")
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
        f"Difference to {baseline}",
        ["method", *map(arrow, present)],
        rows,
        [
            "Two-sided t-test over seeds: paired by the common seeds; where one side is the same "
            "for every seed, of the other's values against that constant.",
            "p is of the one test; Holm: corrected over all columns tested in that metric. Bold: "
            "p < .05 after this correction; the number of metrics is not corrected for.",
            ONE_SPLIT,
        ],
    )


def _time(summary: Summary) -> Table | None:
    known = {name: own["time"] for name, own in summary["columns"].items() if own.get("time")}
    return time_table(known, "method") if known else None


def time_table(known: Mapping[str, Mapping[str, float]], of: str) -> Table:
    """Where the time of runs went.

    Args:
        known: By the name of a row, what `retdm.evaluation.comparison.mean_time` says.
        of: What the rows are.
    """
    shares = {
        "data_wait": "waiting for data",
        "compute": "compute",
        "communication": "communication",
        "evaluation": "evaluation",
        "checkpoint": "checkpoint",
        "other": "other",
    }
    rows = [
        [
            Cell(name),
            Cell(f"{time['images_per_s']:.1f}"),
            Cell(f"{time['images_per_s_per_worker']:.1f}"),
            *(Cell(f"{time[share]:.1%}") for share in shares),
        ]
        for name, time in known.items()
    ]
    return Table(
        "Where the time went",
        [of, "images/s", "of a worker", *shares.values()],
        rows,
        [
            "Of a mean worker, and of a mean run where there are several; a first stage that runs "
            "share is not in them. Images a second are those of training, without validation and "
            "ends of epochs.",
            "Times are the host's. A GPU works on while its host does something else: on one, "
            "compute and communication are right together, but not how they are split, which "
            "`jobs/train.py --profile` shows.",
        ],
    )


def _difference(figures: Mapping[str, Any]) -> Cell:
    difference, p = figures.get("difference"), figures.get("p")
    if difference is None or math.isnan(difference):
        return Cell("-")
    text = f"{difference:+.4f}"
    if p is None or math.isnan(p):
        return Cell(text, detail=p_text(p))
    corrected = figures["p_holm"]
    both = f"{p_text(p)}; Holm {_p_number(corrected)}"
    return Cell(text, corrected < SIGNIFICANT, both)
