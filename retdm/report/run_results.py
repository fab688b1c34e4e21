"""Which figures of merit a page of runs has, and where they do not agree."""

from collections.abc import Mapping, Sequence

from retdm.evaluation import evaluate
from retdm.evaluation.per_label import average_precision_per_label, mean_average_precision
from retdm.evaluation.table import Values
from retdm.report.run_files import RunFiles
from retdm.report.run_scores import SplitScores
from retdm.train.history import ranked

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
        if scored is not None and _known(run, scored) is None:
            columns[f"{run.name} ({scored.split}, computed here)"] = _computed(scored)
        elif scored is None and not known and run.history:
            best = ranked(run.history)[0]
            heading = f"{run.name} (val, stage {best['stage']} epoch {best['epoch']})"
            columns[heading] = _validation(best)
    return columns


def _known(run: RunFiles, scored: SplitScores) -> Values | None:
    """The result's metrics of the split that was scored; it calls splits by what they are for."""
    metrics = run.result["metrics"] if run.result else {}
    roles = {"test": scored.settings.test_split, "val": scored.settings.val_split}
    same = [
        metrics[role] for role, name in roles.items() if name == scored.split and role in metrics
    ]
    return same[0] if same else None


def cautions(runs: Sequence[RunFiles], scores: Sequence[SplitScores]) -> list[str]:
    """What does not fit together, though it stands on one page."""
    out = []
    for run, scored in zip(runs, scores, strict=False):
        known = _known(run, scored)
        told = known.get("mAP") if known else None
        if told is None:
            continue
        one = scored.scored
        here, _ = mean_average_precision(average_precision_per_label(one.scores, one.targets))
        if not abs(here - told) <= _EQUAL:
            out.append(
                f"CAUTION: {run.name} has an mAP of {told:.4f} on split {scored.split} in "
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


def _computed(scored: SplitScores) -> Values:
    one = scored.scored
    return evaluate(one.scores, one.targets, threshold=one.threshold, fitted=scored.fitted)


def _validation(entry: Mapping[str, object]) -> Values:
    return {
        key.removeprefix("val/"): float(value)
        for key, value in entry.items()
        if key.startswith("val/") and isinstance(value, int | float)
    }
