"""What a comparison's page says in words, around its tables."""

import re
from collections.abc import Mapping, Sequence
from typing import Any

Summary = Mapping[str, Any]
"""The content of `compare.json` (`retdm.evaluation.compare_content`)."""

ONE_SPLIT = (
    "All seeds share one split: spreads and p-values measure the noise of training (order, "
    "weights, crops) on one fixed set of test photos, not that of another sample of photos."
)


def headline(summary: Summary) -> list[str]:
    """What was compared, in short lines."""
    seeds = ", ".join(map(str, summary["seeds"]))
    lines = [
        f"Data: {summary['data'] or 'no result yet'}, test split; "
        f"shard set {str(summary['data_digest'])[:12]}. Seeds: {seeds}.",
        "Mean ± standard deviation over seeds (n - 1); ↑ higher is better, ↓ lower is better. "
        "Bold: the best mean, where a t-test over seeds against the runner-up gives p < .05 (not "
        "corrected for the number of metrics); two seeds give no p.",
        ONE_SPLIT,
    ]
    if not summary["complete"]:
        lines.append("INCOMPLETE: some runs are missing or failed; n says how many are in.")
    different = _different_versions(summary)
    if different:
        lines.append(
            f"CAUTION: runs of this comparison were made by different versions: {different}."
        )
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


def versions(summary: Summary) -> str:
    """Everything that the runs recorded of what made them, on one line."""
    recorded = ", ".join(_recorded(name, own) for name, own in summary["versions"].items())
    return f"Versions: {recorded or 'not recorded'}"


def _different_versions(summary: Summary) -> str:
    """What is not alike in all columns; columns of the same versions together."""
    alike: dict[str, list[str]] = {}
    for column, content in summary["columns"].items():
        if content["versions"]:
            said = ", ".join(_recorded(name, own) for name, own in content["versions"].items())
            alike.setdefault(said, []).append(column)
    return "; ".join(f"{said} ({', '.join(columns)})" for said, columns in alike.items())


def _recorded(name: str, versions: Sequence[str]) -> str:
    return f"{name} {'/'.join(map(_short, versions))}"


def _short(version: str) -> str:
    """A digest as far as people compare it; other versions whole."""
    return version[:12] if re.fullmatch(r"[0-9a-f]{32,}", version) else version
