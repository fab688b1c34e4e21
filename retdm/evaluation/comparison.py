"""What a comparison of methods over seeds shows: means, spreads, tests, the paper beside them.

Plain values in and out: `compare.json` is what `summarize` returns, and every table and plot is
drawn from that.
"""

import math
from collections.abc import Mapping, Sequence
from collections.abc import Set as AbstractSet
from typing import Any

from retdm.evaluation.paired import SIGNIFICANT, mean_and_sd, paired_t_test
from retdm.evaluation.published import paper_name, published_table
from retdm.evaluation.table import lower_is_better

Result = Mapping[str, Any]
"""The content of a result.json."""

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
        n - 1, `n`, `values` by seed, and `difference` and `p` against the baseline), `paper`,
        and `deterministic`: whether all seeds gave the same, so that they are one result;
        `best`: for each metric the best mean, the runner-up, and whether a paired t-test between
        these two supports it (p < .05); `baseline`; `data`; `data_digest`; `versions`, more than
        one value of a version if cells were run under several; `cautions`, what else was not
        the same in all runs.
    """
    values = {name: _values(results.get(name, {})) for name in columns}
    fixed = {name for name, own in values.items() if _deterministic(own)}
    metrics = list(dict.fromkeys(metric for own in values.values() for metric in own))
    found = [result for own in results.values() for result in own.values()]
    data = str(found[0]["data"]) if found else ""
    return {
        "baseline": baseline,
        "data": data,
        "data_digest": found[0]["data_digest"] if found else "",
        "columns": {
            name: {
                "method": method,
                "reading": next(iter(results.get(name, {}).values()), {}).get("reading", {}),
                "seeds": sorted(results.get(name, {})),
                "deterministic": name in fixed,
                "metrics": {
                    metric: _figures(
                        own, values.get(baseline, {}).get(metric, {}), fixed & {name, baseline}
                    )
                    for metric, own in values[name].items()
                },
                "paper": _paper(data, method),
            }
            for name, method in columns.items()
        },
        "best": {metric: best for metric in metrics if (best := _best(metric, values, fixed))},
        "versions": _versions(found),
        "cautions": [
            caution
            for name in columns
            for caution in _cautions(name, list(results.get(name, {}).values()))
        ],
    }


def _values(results: Mapping[int, Result]) -> dict[str, BySeed]:
    """Defined values by metric and seed; what is only counted is left out."""
    out: dict[str, BySeed] = {}
    for seed in sorted(results):
        for metric, value in results[seed]["metrics"]["test"].items():
            if not metric.startswith("skipped.") and value is not None and math.isfinite(value):
                out.setdefault(metric, {})[seed] = float(value)
    return out


def _deterministic(values: Mapping[str, BySeed]) -> bool:
    """Whether several seeds gave one result."""
    counts = [len(own) for own in values.values()]
    return max(counts, default=0) > 1 and all(len({*own.values()}) == 1 for own in values.values())


def _figures(own: BySeed, baseline: BySeed, fixed: AbstractSet[str]) -> dict[str, Any]:
    """`fixed`: which of both are deterministic; seeds are then no sample to test with."""
    mean, sd = mean_and_sd(list(own.values()))
    out: dict[str, Any] = {"mean": mean, "sd": sd, "n": len(own)}
    if baseline and own is not baseline:
        test = paired_t_test(own, baseline)
        p = math.nan if fixed else test.p
        out |= {"difference": test.difference, "p": p, "pairs": test.n}
    return {**out, "values": {str(seed): value for seed, value in own.items()}}


def _best(
    metric: str, values: Mapping[str, Mapping[str, BySeed]], fixed: AbstractSet[str]
) -> dict[str, Any] | None:
    """The column with the best mean and how sure that is; None with fewer than two columns."""
    ranked = sorted(
        (mean_and_sd(list(own[metric].values()))[0] * (1 if lower_is_better(metric) else -1), name)
        for name, own in values.items()
        if own.get(metric)
    )
    if len(ranked) < 2:
        return None
    (_, first), (_, second) = ranked[:2]
    test = paired_t_test(values[first][metric], values[second][metric])
    p = math.nan if fixed & {first, second} else test.p
    # Means over other seeds than the common ones may disagree with the paired differences.
    ahead = test.difference < 0 if lower_is_better(metric) else test.difference > 0
    return {
        "column": first,
        "runner_up": second,
        "p": p,
        "supported": bool(ahead and p < SIGNIFICANT),
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


def _versions(results: Sequence[Result]) -> dict[str, list[str]]:
    out: dict[str, set[str]] = {}
    for result in results:
        for name, version in result.get("versions", {}).items():
            out.setdefault(name, set()).add(str(version))
    return {name: sorted(found) for name, found in out.items()}


def _cautions(name: str, results: Sequence[Result]) -> list[str]:
    """What a column's runs do not have in common, though they are one mean."""
    out = []
    for what in sorted({key for result in results for key in result["reading"]}):
        found = sorted({str(result["reading"].get(what, "not stated")) for result in results})
        if len(found) > 1:
            out.append(f"{name}: its runs took several readings of {what} ({' / '.join(found)})")
    workers = sorted({result["world_size"] for result in results if "world_size" in result})
    if len(workers) > 1:
        out.append(f"{name}: its runs had {' or '.join(map(str, workers))} workers")
    return out
