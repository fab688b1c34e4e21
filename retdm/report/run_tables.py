"""What the page of runs says in words and tables: results, time, scaling, settings."""

from collections.abc import Mapping, Sequence
from typing import Any

from retdm.evaluation.comparison import mean_time
from retdm.evaluation.published import published_table
from retdm.evaluation.table import Values, lay_out
from retdm.report.comparison_tables import time_table
from retdm.report.run_files import RunFiles
from retdm.report.search_words import shown
from retdm.report.table import Cell, Table
from retdm.train.checkpoint import flatten

_NOT_SCALED = ("seed", "data.url", "run.micro_batches")
"""Settings in which runs may differ whose speeds are compared; the shard sets must be equal."""


def headline(run: RunFiles) -> str:
    """One run in a sentence."""
    result = run.result
    if result is None:
        stands = "no finished epoch yet"
        if run.history:
            last = run.history[-1]
            stands = f"behind epoch {last['epoch']} of stage {last['stage']}"
        return (
            f"{run.name}: {run.method}, seed {run.config.get('seed')}, shard set "
            f"{run.data_digest[:12]}; not finished, {stands}."
        )
    workers = "1 worker" if result["world_size"] == 1 else f"{result['world_size']} workers"
    return (
        f"{run.name}: {run.method}, seed {result['seed']}, data {result['data']} (shard set "
        f"{run.data_digest[:12]}), {workers}; best checkpoint {result.get('checkpoint', '-')}."
    )


def metric_tables(columns: Mapping[str, Values], runs: Sequence[RunFiles]) -> list[Table]:
    """Every metric, a column for each run, beside the published values that mean the same."""
    data = {run.result["data"] for run in runs if run.result}
    dataset = data.pop() if len(data) == 1 else ""
    laid = lay_out(columns, dataset=dataset, methods=[run.method for run in runs])
    tables = [_family(title, laid.head, rows) for title, rows in laid.families.items()]
    if not tables:
        return []
    beside = [f"{note}." for note in laid.notes]
    if dataset and published_table(dataset) is None:
        beside = [
            f"Nothing published stands beside: the paper has no table for {dataset} (a subset of "
            "one of its data sets is another data set)."
        ]
    tables[-1].notes.extend([*(f"{note}." for note in laid.left_out), *beside])
    return tables


def _family(title: str, head: list[str], rows: list[list[str]]) -> Table:
    """Without columns in which there is nothing: the paper has no figure of most families."""
    shown = [column for column in range(len(head)) if any(row[column] for row in rows)]
    return Table(
        title.capitalize(),
        [head[column] or "in the paper" for column in shown],
        [[Cell(row[column]) for column in shown] for row in rows],
    )


def baselines(runs: Sequence[RunFiles]) -> list[str]:
    """What a model without eyes would reach."""
    return [
        f"{run.name}: a model that gives all images the same scores has a mAP of {value:.4f} on "
        f"split {', '.join(run.result['metrics'])}."
        for run in runs
        if run.result and (value := run.result.get("baseline", {}).get("label_frequency_mAP"))
    ]


def times(runs: Sequence[RunFiles]) -> Table | None:
    """Where the time of each finished run went."""
    known = {run.name: mean_time([run.result]) for run in runs if run.result}
    found = {name: time for name, time in known.items() if time}
    return time_table(found, "run") if found else None


def bounds(runs: Sequence[RunFiles]) -> list[str]:
    """What each run of several workers says by itself of how it scales."""
    out = []
    for run in runs:
        time = (run.result or {}).get("time") or {}
        bound = time.get("efficiency_at_most")
        if run.result and bound is not None and run.result["world_size"] > 1:
            out.append(
                f"{run.name}: communication took {1 - bound:.1%} of the time of its steps, so "
                f"each of its {run.result['world_size']} workers was at most {bound:.1%} as fast "
                "as one alone."
            )
    return out


def scaling(runs: Sequence[RunFiles]) -> Table | None:
    """Speed of a worker against that of the run with the fewest, among runs of equal settings."""
    groups: dict[str, list[tuple[int, float, RunFiles]]] = {}
    for run in runs:
        speed = ((run.result or {}).get("time") or {}).get("images_per_s_per_worker", 0)
        if run.result and speed:
            groups.setdefault(_same(run), []).append((run.result["world_size"], speed, run))
    rows, named = [], []
    for group in groups.values():
        ordered = sorted(group, key=lambda entry: entry[0])
        fewest, of_first, first = ordered[0]
        if ordered[-1][0] == fewest:
            continue
        named.append(f"{first.name} ({fewest})")
        for workers, speed, run in ordered:
            bound = run.result["time"].get("efficiency_at_most") if run.result else None
            rows.append(
                [
                    Cell(run.name),
                    Cell(str(workers)),
                    Cell(f"{speed:.1f}"),
                    Cell("1 (by definition)" if run is first else f"{speed / of_first:.3f}"),
                    Cell("-" if bound is None else f"{bound:.3f}"),
                ]
            )
    if not rows:
        return None
    return Table(
        "Scaling efficiency",
        ["run", "workers", "images/s of a worker", "efficiency", "at most"],
        rows,
        [
            "Efficiency: images a second of one worker, divided by those of the run with the "
            f"fewest workers: {', '.join(named)}. It means something only if all machines are "
            "alike and nothing else ran on them, which no file of a run can tell.",
            "The batch is the global one, so more workers have fewer images each in a step.",
            "At most: what is left of a step without communication, from that run alone. What a "
            "GPU exchanges behind its backward pass counts as compute.",
        ],
    )


def _same(run: RunFiles) -> str:
    settings = {k: v for k, v in flatten(run.config).items() if k not in _NOT_SCALED}
    return repr((run.data_digest, sorted(settings.items())))


def differences(runs: Sequence[RunFiles]) -> Table | None:
    """The settings that are not alike in all runs; None if there are none."""
    settings = [flatten(run.config) for run in runs]
    keys = list(dict.fromkeys(key for own in settings for key in own))
    absent = object()
    rows = [
        [Cell(key), *(Cell(_setting(own, key)) for own in settings)]
        for key in keys
        if any(own.get(key, absent) != settings[0].get(key, absent) for own in settings)
    ]
    if not rows:
        return None
    return Table("Settings that differ", ["setting", *(run.name for run in runs)], rows)


def _setting(settings: Mapping[str, Any], key: str) -> str:
    return shown(settings[key]) if key in settings else "not recorded"


def versions(runs: Sequence[RunFiles]) -> list[str]:
    """What made each result; runs of the same versions together."""
    alike: dict[str, list[str]] = {}
    for run in runs:
        known = (run.result or {}).get("versions", {})
        said = ", ".join(f"{name} {version}" for name, version in known.items())
        alike.setdefault(said or "not recorded", []).append(run.name)
    return [f"Versions ({', '.join(names)}): {said}" for said, names in alike.items()]
