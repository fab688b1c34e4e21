"""Which figures of merit a page of runs has, and where they do not agree."""

from collections.abc import Mapping, Sequence

import numpy as np

from retdm.evaluation import evaluate
from retdm.evaluation.fitted import Thresholds
from retdm.evaluation.per_label import average_precision_per_label, mean_average_precision
from retdm.evaluation.table import Values
from retdm.report.run_files import RunFiles
from retdm.report.run_scores import SplitScores

_EQUAL = 1e-3
"""Two mAPs of one checkpoint on one split: machines round differently, and ties fall apart."""


def metric_columns(runs: Sequence[RunFiles], scores: Sequence[SplitScores]) -> dict[str, Values]:
    """Metrics by heading: of the results, and of what was scored where they have nothing."""
    columns: dict[str, Values] = {}
    by_run: Sequence[SplitScores | None] = scores or [None] * len(runs)
    for run, scored in zip(runs, by_run, strict=True):
        known = run.result["metrics"] if run.result else {}
        for split, metrics in known.items():
            columns[run.name if split == "test" else f"{run.name} ({split})"] = metrics
        if scored is not None and scored.split not in known:
            columns[f"{run.name} ({scored.split}, computed here)"] = _computed(run, scored)
        elif scored is None and not known and run.history:
            best = max(run.history, key=lambda entry: float(entry.get("rank_score", 0)))
            heading = f"{run.name} (val, stage {best['stage']} epoch {best['epoch']})"
            columns[heading] = _validation(best)
    return columns


def cautions(runs: Sequence[RunFiles], scores: Sequence[SplitScores]) -> list[str]:
    """What does not fit together, though it stands on one page."""
    out = []
    for run, scored in zip(runs, scores, strict=False):
        known = run.result["metrics"].get(scored.split) if run.result else None
        if known is None or known.get("mAP") is None:
            continue
        one = scored.scored
        here, _ = mean_average_precision(average_precision_per_label(one.scores, one.targets))
        if not abs(here - known["mAP"]) <= _EQUAL:
            out.append(
                f"CAUTION: {run.name} has an mAP of {known['mAP']:.4f} on split {scored.split} in "
                f"its result, its scores of this page have {here:.4f}: they are of other data, of "
                "another checkpoint or of other software."
            )
    digests = {run.data_digest for run in runs}
    if len(digests) > 1:
        each = "; ".join(f"{run.name} {run.data_digest[:12]}" for run in runs)
        out.append(
            f"CAUTION: the runs were trained on different shard sets ({each}), so that their "
            "metrics cannot be compared."
        )
    return out


def _computed(run: RunFiles, scored: SplitScores) -> Values:
    one = scored.scored
    return evaluate(one.scores, one.targets, threshold=one.threshold, fitted=_fitted(run))


def _fitted(run: RunFiles) -> Thresholds | None:
    known: Mapping[str, float] = run.result.get("thresholds", {}) if run.result else {}
    if not all(label in known for label in run.labels):
        return None
    return np.array([known[label] for label in run.labels])


def _validation(entry: Mapping[str, object]) -> Values:
    return {
        key.removeprefix("val/"): float(value)
        for key, value in entry.items()
        if key.startswith("val/") and isinstance(value, int | float)
    }
