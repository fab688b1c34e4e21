"""What a comparison of methods over seeds shows: means, spreads, tests, the paper beside them.

Plain values in and out; `compare_content` adds how the runs ended.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from retdm.evaluation.agreement import Result, cautions, differing_versions, recorded_versions
from retdm.evaluation.holm import holm
from retdm.evaluation.paired import SIGNIFICANT, mean_and_sd, t_test
from retdm.evaluation.published import paper_name, published_table, target_notes
from retdm.evaluation.table import lower_is_better

BySeed = dict[int, float]


def summarize(
    columns: Mapping[str, str], results: Mapping[str, Mapping[int, Result]], *, baseline: str = ""
) -> dict[str, Any]:
    """Put the results of every column together.

    Args:
        columns: Name of each column and its method.
        results: Results of each column by seed; as many as there are so far.
        baseline: The column that the others are tested against; "" for none.

    Returns:
        `columns`: by name, `method`, `reading`, `seeds`, `metrics` (for each `mean`, `sd` with
        n - 1, `n`, `values` by seed, and against the baseline `difference`, `pairs`, `p` and
        `p_holm`, which is corrected over the columns tested in that metric), `paper`,
        `deterministic`: whether all seeds gave the same, so that they are one result, and
        `versions`: of its runs, of those things that are not alike in all columns, and `time`:
        means over its runs of the shares of time and of images per second, empty if no run
        recorded them;
        `best`: for each metric the best mean, the runner-up, and whether a t-test between
        these two supports it (p < .05); `baseline`; `data`; `data_digest`; `versions`, more than
        one value of a version if runs were made under several; `cautions`, what else was not
        the same in all runs; `other_rows`: notes on the published rows that no column with
        results belongs to.
    """
    own_results = {name: list(results.get(name, {}).values()) for name in columns}
    values = {name: _values(results.get(name, {})) for name in columns}
    fixed = {name for name, own in values.items() if _deterministic(own)}
    by_metric: dict[str, dict[str, BySeed]] = {}
    for name, own in values.items():
        for metric, by_seed in own.items():
            by_metric.setdefault(metric, {})[name] = by_seed
    tests = {metric: _against(baseline, of, fixed) for metric, of in by_metric.items()}
    found = [result for own in own_results.values() for result in own]
    data = str(found[0]["data"]) if found else ""
    versions = differing_versions(own_results)
    return {
        "baseline": baseline,
        "data": data,
        "data_digest": found[0]["data_digest"] if found else "",
        "columns": {
            name: {
                "method": method,
                "reading": own_results[name][0]["reading"] if own_results[name] else {},
                "seeds": sorted(results.get(name, {})),
                "deterministic": name in fixed,
                "metrics": {
                    metric: _figures(own) | tests[metric].get(name, {})
                    for metric, own in values[name].items()
                },
                "paper": _paper(data, method),
                "versions": versions[name],
                "time": mean_time(own_results[name]),
            }
            for name, method in columns.items()
        },
        "best": {
            metric: best for metric, of in by_metric.items() if (best := _best(metric, of, fixed))
        },
        "versions": recorded_versions(found),
        "cautions": [line for name in columns for line in cautions(name, own_results[name])],
        "other_rows": _other_rows(data, [columns[name] for name in columns if values[name]]),
    }


def _values(results: Mapping[int, Result]) -> dict[str, BySeed]:
    """Defined values by metric and seed; what is only counted is left out."""
    out: dict[str, BySeed] = {}
    for seed in sorted(results):
        for metric, value in results[seed]["metrics"]["test"].items():
            if not metric.startswith("skipped.") and value is not None and math.isfinite(value):
                out.setdefault(metric, {})[seed] = float(value)
    return out


def mean_time(results: Sequence[Result]) -> dict[str, float]:
    """Shares of time and images a second, means over the runs that know; empty if none does."""
    known = [result["time"] for result in results if "time" in result]
    if not known:
        return {}
    rows = [
        {**one["share"], **{key: one[key] for key in ("images_per_s", "images_per_s_per_worker")}}
        for one in known
    ]
    return {key: sum(row[key] for row in rows) / len(rows) for key in rows[0]}


def _deterministic(values: Mapping[str, BySeed]) -> bool:
    """Whether several seeds gave one result."""
    counts = [len(own) for own in values.values()]
    return max(counts, default=0) > 1 and all(len({*own.values()}) == 1 for own in values.values())


def _figures(own: BySeed) -> dict[str, Any]:
    mean, sd = mean_and_sd(list(own.values()))
    values = {str(seed): value for seed, value in own.items()}
    return {"mean": mean, "sd": sd, "n": len(own), "values": values}


def _against(
    baseline: str, values: Mapping[str, BySeed], fixed: AbstractSet[str]
) -> dict[str, dict[str, Any]]:
    """Every other column's difference to the baseline in one metric, and its p-values."""
    if baseline not in values:
        return {}
    tests = {
        name: t_test(
            own,
            values[baseline],
            first_fixed=name in fixed,
            second_fixed=baseline in fixed,
        )
        for name, own in values.items()
        if name != baseline
    }
    corrected = holm({name: test.p for name, test in tests.items()})
    return {
        name: {
            "difference": test.difference,
            "pairs": test.n,
            "p": test.p,
            "p_holm": corrected[name],
        }
        for name, test in tests.items()
    }


def _best(
    metric: str, values: Mapping[str, BySeed], fixed: AbstractSet[str]
) -> dict[str, Any] | None:
    """The column with the best mean and how sure that is; None with fewer than two columns."""
    sign = 1 if lower_is_better(metric) else -1
    ranked = sorted(
        (sign * mean_and_sd(list(own.values()))[0], name) for name, own in values.items()
    )
    if len(ranked) < 2:
        return None
    (_, first), (_, second) = ranked[:2]
    test = t_test(
        values[first],
        values[second],
        first_fixed=first in fixed,
        second_fixed=second in fixed,
    )
    # Means over other seeds than the common ones may disagree with the paired differences.
    ahead = sign * test.difference < 0
    return {
        "column": first,
        "runner_up": second,
        "p": test.p,
        "supported": bool(ahead and test.p < SIGNIFICANT),
    }


def _paper(data: str, method: str) -> dict[str, Any]:
    """The method's published row, or why there is nothing to compare with."""
    name = paper_name(method)
    table = published_table(data)
    if not name:
        return {"row": "", "why_not": "not in the paper", "values": {}}
    if table is None:
        why = f"the paper has no table for {data}" if data else "no result yet"
        return {"row": name, "why_not": why, "values": {}}
    row = table.row(name)
    if row is None:
        return {"row": name, "why_not": f"not in {table.title.partition(':')[0]}", "values": {}}
    return {
        "row": name,
        "table": table.title,
        "protocol": row.protocol,
        "predicted": row.predicted,
        "why_not": row.why_not,
        "corrections": list(row.corrections),
        "values": dict(row.values),
        "printed": dict(row.printed),
        "metrics": dict(row.metrics),
    }


def _other_rows(data: str, methods: Sequence[str]) -> list[str]:
    """Whether the published rows of none of the methods are targets."""
    table = published_table(data)
    return target_notes(table, but={paper_name(method) for method in methods}) if table else []
