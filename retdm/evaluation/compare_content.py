"""The content of `compare.json`: the summary of the results, and how each run ended."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from retdm.evaluation.agreement import Result
from retdm.evaluation.comparison import summarize


@dataclass(frozen=True, slots=True)
class EndedRun:
    """One run of a comparison, as far as its pages are concerned."""

    cell: str
    """Folder of the run."""
    title: str
    """As people call it."""
    columns: Sequence[str]
    """Columns that show its result; none for a shared stage."""
    seed: int
    how: str
    """"reused", "trained" or "failed"."""
    seconds: float
    result: Result | None
    """Content of its result.json; None if it failed."""
    error: str
    """Why it failed; "" if it did not."""


def compare_content(
    name: str,
    columns: Mapping[str, str],
    seeds: Sequence[int],
    ended: Sequence[EndedRun],
    *,
    wanted: int,
    baseline: str = "",
) -> dict[str, Any]:
    """What is known of a comparison so far; tables and plots are drawn from this alone.

    Args:
        name: Of the comparison.
        columns: Name of each column and its method.
        seeds: Of each column.
        ended: The runs that came to an end, in that order.
        wanted: Runs that columns wait for; shared stages not counted.
        baseline: The column that the others are tested against; "" for none.

    Returns:
        `run`, `complete` (whether all wanted results are there), `seeds`, what `summarize`
        returns, `failures` and `cells`.
    """
    shown = 0
    results: dict[str, dict[int, Result]] = {column: {} for column in columns}
    for run in ended:
        if run.columns and run.result is not None:
            shown += 1
            for column in run.columns:
                results[column][run.seed] = run.result
    return {
        "run": name,
        "complete": shown == wanted,
        "seeds": list(seeds),
        **summarize(columns, results, baseline=baseline),
        "failures": [
            {"cell": run.cell, "title": run.title, "error": run.error}
            for run in ended
            if run.how == "failed"
        ],
        "cells": [
            {
                "cell": run.cell,
                "columns": list(run.columns),
                "seed": run.seed,
                "how": run.how,
                "seconds": round(run.seconds, 1),
            }
            for run in ended
        ],
    }
