"""The tables of a search: the best against the recipe, the final run, all trials."""

from collections.abc import Mapping
from typing import Any

from retdm.evaluation.table import lower_is_better
from retdm.report.comparison_tables import arrow
from retdm.report.search_words import (
    Summary,
    Trial,
    domain_text,
    duration,
    last_report,
    ranked,
    shown,
    trial_names,
    trial_of_defaults,
    value_of,
)
from retdm.report.table import Cell, Table

_COLUMNS_OF_BEST = 5
_FINAL = ("mAP", "CF1", "OF1", "hamming_loss", "ranking_loss")


def best_table(summary: Summary) -> Table:
    """Each setting: its domain, the recipe's value, the best one's; last their metrics."""
    best = [t for t in ranked(summary) if t["number"] in summary["best"]][:_COLUMNS_OF_BEST]
    defaults = trial_of_defaults(summary)
    rows = [
        [
            Cell(name),
            *(Cell(_setting(trial["params"], name), bold=True) for trial in best),
            Cell(_setting(summary["defaults"], name)),
            Cell(domain_text(domain)),
        ]
        for name, domain in summary["space"].items()
    ]
    for metric in summary["metrics"]:
        known = Cell("-") if defaults is None else _value(defaults, metric)
        rows.append([Cell(arrow(metric)), *(_value(t, metric) for t in best), known, Cell("")])
    notes = []
    if best:
        notes.append("Metrics of the validation split, on which they were chosen: they flatter.")
    if defaults is None:
        notes.append("No complete trial has the recipe's own values, so there is no metric there.")
    if len(summary["best"]) > len(best):
        notes.append(f"The whole front: {trial_names(summary['best'])}.")
    return Table(
        "The best against the recipe",
        ["setting", *(f"trial {trial['number']}" for trial in best), "recipe", "searched"],
        rows,
        notes,
    )


def final_table(summary: Summary) -> Table | None:
    """What the best reached when it was trained again; None before that."""
    if not summary["final"]:
        return None
    splits = summary["final"]["metrics"]
    wanted = dict.fromkeys((*summary["metrics"], *_FINAL))
    present = [m for m in wanted if any(m in values for values in splits.values())]
    rows = [
        [Cell(split), *(_number(values.get(metric)) for metric in present)]
        for split, values in splits.items()
    ]
    notes = ["No trial saw the test split; this run alone was measured on it."]
    title = f"The best trained again (run {summary['final']['run']})"
    return Table(title, ["split", *map(arrow, present)], rows, notes)


def trials_table(summary: Summary) -> Table:
    """Every trial, the best first."""
    metrics, names = summary["metrics"], list(summary["space"])
    rows = [
        [
            Cell(str(trial["number"])),
            Cell(trial["state"]),
            _reached(trial, metrics[0], trial["number"] in summary["best"]),
            *(_value(trial, metric) for metric in metrics[1:]),
            *(Cell(_setting(trial["params"], name)) for name in names),
            Cell(_epochs(trial)),
            Cell(duration(trial["seconds"])),
            Cell(trial["why"] or "", prose=True),
        ]
        for trial in ranked(summary)
    ]
    head = ["trial", "state", *map(arrow, metrics), *names, "epochs", "time", "why it ended"]
    better = "lowest" if lower_is_better(metrics[0]) else "highest"
    notes = [
        f"The {better} {metrics[0]} first (bold: {'the front' if len(metrics) > 1 else 'the best'}"
        "); a value in brackets is the last one that a trial reported before it was stopped."
    ]
    return Table("All trials", head, rows, notes)


def _reached(trial: Trial, metric: str, is_best: bool) -> Cell:
    last = last_report(trial)
    if trial["state"] != "complete" and last:
        return Cell(f"({last[1]:.4f})")
    return Cell(_value(trial, metric).text, bold=is_best)


def _epochs(trial: Trial) -> str:
    last = last_report(trial)
    return str(last[0]) if last else "-"


def _setting(values: Mapping[str, Any], name: str) -> str:
    return shown(values[name]) if name in values else "-"


def _value(trial: Trial, metric: str) -> Cell:
    return _number(value_of(trial, metric))


def _number(value: Any) -> Cell:
    return Cell("-" if value is None else f"{value:.4f}")
