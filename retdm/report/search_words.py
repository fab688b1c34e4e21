"""What a search's page and its lines for the terminal say in words and numbers."""

import json
from collections.abc import Mapping, Sequence
from math import isfinite
from typing import Any

from retdm.console import counted
from retdm.evaluation.table import lower_is_better

Summary = Mapping[str, Any]
"""The content of `tune.json`."""
Trial = Mapping[str, Any]
"""One of its `trials`."""

STATES = ("complete", "pruned", "running", "failed")


def headline(summary: Summary) -> list[str]:
    """What was searched, with what budget, how it ended, in short lines."""
    seeds = ", ".join(map(str, summary["seeds"]))
    wanted = " and ".join(
        f"the {'lowest' if lower_is_better(metric) else 'highest'} {metric}"
        for metric in summary["metrics"]
    )
    lines = [
        f"Data: {summary['data']}, validation split; shard set {summary['data_digest'][:12]}. "
        f"Each trial: seed {seeds}{' (mean)' if len(summary['seeds']) > 1 else ''}.",
        f"Searched: {', '.join(summary['space'])} for {wanted}. Sampler {summary['sampler']}, "
        f"{_pruner(summary['pruner'])}.",
        _trials(summary),
        _best(summary),
    ]
    shared = summary["shared_stage"]
    if shared:
        lines.append(
            f"The first stage was trained once for all trials, in {duration(shared['seconds'])}; "
            f"that saved {duration(shared['saved_seconds'])} of training."
        )
    return lines


def ranked(summary: Summary) -> list[Trial]:
    """All trials: the best, the other complete ones by the first metric, pruned ones, the rest."""
    metric = summary["metrics"][0]
    sign = 1 if lower_is_better(metric) else -1

    def order(trial: Trial) -> tuple[bool, int, float, int]:
        value = value_of(trial, metric)
        last = last_report(trial)
        seen = value if value is not None else last[1] if last else None
        return (
            trial["number"] not in summary["best"],
            STATES.index(trial["state"]),
            float("inf") if seen is None else sign * seen,
            trial["number"],
        )

    return sorted(summary["trials"], key=order)


def value_of(trial: Trial, metric: str) -> float | None:
    """What a complete trial reached; None if it is not complete or the metric is undefined."""
    if trial["state"] != "complete" or trial["values"] is None:
        return None
    value = trial["values"].get(metric)
    return float(value) if value is not None and isfinite(value) else None


def known_trials(summary: Summary) -> list[Trial]:
    """The complete trials by number, without those of which a metric is undefined."""
    known = [
        trial
        for trial in summary["trials"]
        if all(value_of(trial, metric) is not None for metric in summary["metrics"])
    ]
    return sorted(known, key=lambda trial: int(trial["number"]))


def reports(trial: Trial) -> list[tuple[int, float]]:
    """Epoch and value of the first metric, as far as the trial came; undefined ones left out."""
    known = [(epoch, value) for epoch, value in trial["intermediate"] if value is not None]
    return sorted((int(epoch), float(value)) for epoch, value in known)


def last_report(trial: Trial) -> tuple[int, float] | None:
    """The last of `reports`."""
    return max(reports(trial), default=None)


def trial_names(numbers: Sequence[int]) -> str:
    """Trials by their numbers, as a sentence names them.

    Example:
        >>> trial_names([3]), trial_names([3, 5])
        ('trial 3', 'trials 3, 5')
    """
    return f"trial{'' if len(numbers) == 1 else 's'} {', '.join(map(str, numbers))}"


def shown(value: Any) -> str:
    """A setting's value, as short as it can be told apart.

    Example:
        >>> shown(0.0123456), shown(1.0), shown("inv"), shown(True), shown([1, 2])
        ('0.01235', '1', 'inv', 'true', '[1, 2]')
    """
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, str) and value.isprintable():
        return value
    return json.dumps(value)


def domain_text(domain: Mapping[str, Any]) -> str:
    """Where a setting was searched.

    Example:
        >>> domain_text({"log": [1e-4, 1]}), domain_text({"choice": ["inv", True]})
        ('0.0001 to 1, log', 'inv, true')
    """
    (kind, values), *_ = domain.items()
    if kind == "choice":
        return ", ".join(map(shown, values))
    low, high = map(shown, values)
    return f"{low} to {high}" + {"log": ", log", "int": ", whole", "float": ""}[kind]


def duration(seconds: float | None) -> str:
    """A time as people say it.

    Example:
        >>> duration(4.25), duration(83), duration(2000), duration(9000), duration(None)
        ('4.2 s', '83 s', '33 min', '2 h 30 min', '-')
    """
    if seconds is None:
        return "-"
    if seconds < 10:
        return f"{seconds:.1f} s"
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60} min"


def _pruner(pruner: Mapping[str, Any]) -> str:
    if pruner["kind"] == "none":
        return "no pruning"
    rest = ", ".join(
        f"{key.replace('_', ' ')} {shown(value)}" for key, value in pruner.items() if key != "kind"
    )
    return f"pruner {pruner['kind']}" + (f" ({rest})" if rest else "")


def _trials(summary: Summary) -> str:
    states = [trial["state"] for trial in summary["trials"]]
    said = ", ".join(f"{states.count(s)} {s}" for s in STATES if s in states) or "none yet"
    took = f" in {duration(summary['seconds'])}" if summary["seconds"] is not None else ""
    return f"{counted(len(states), 'trial')}{took}: {said}."


def _best(summary: Summary) -> str:
    best, metrics = summary["best"], summary["metrics"]
    if not best:
        return "No trial is complete: there is no best one yet."
    if len(metrics) > 1:
        return f"Pareto front (nothing is better in both): {trial_names(best)}."
    trial = next(trial for trial in summary["trials"] if trial["number"] == best[0])
    value = value_of(trial, metrics[0])
    reached = "-" if value is None else f"{value:.4f}"
    return (
        f"Best: trial {best[0]}, validation {metrics[0]} {reached}"
        f"{_against_defaults(summary, value)}."
    )


def _against_defaults(summary: Summary, best: float | None) -> str:
    metric = summary["metrics"][0]
    trial = trial_of_defaults(summary)
    value = None if trial is None else value_of(trial, metric)
    if trial is None or value is None or best is None:
        return "; the recipe's own values were not among the complete trials"
    return f", {best - value:+.4f} against the recipe's own values (trial {trial['number']})"


def trial_of_defaults(summary: Summary) -> Trial | None:
    """The complete trial with the recipe's own values, if there is one."""
    own = {name: summary["defaults"].get(name) for name in summary["space"]}
    tried = (t for t in summary["trials"] if t["state"] == "complete" and t["params"] == own)
    return next(tried, None)
