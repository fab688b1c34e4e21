"""Evaluate a model: `python -m retdm.evaluate RUN_URL` or `--scores FILE.npz`.

Prints the metric table and writes the same numbers as JSON.
"""

import argparse
import sys
from collections.abc import Sequence
from typing import Any

from retdm import console
from retdm.evaluation import evaluate, metric_table, strict_json
from retdm.evaluation.score_file import parse_scores
from retdm.storage import open_file, open_store

_EXAMPLES = """\
examples:
  python -m retdm.evaluate s3://bucket/runs/scene-retdm-s0 --json metrics.json
  python -m retdm.evaluate runs/a --data s3://bucket/other --split val --dataset scene
  python -m retdm.evaluate --scores scores.npz --json metrics.json
  python -m retdm.evaluate --scores s3://bucket/scores.npz --dataset scene

The score file holds `scores` (probabilities in [0, 1]) and `targets` (0 or 1), both images x
labels:  numpy.savez("scores.npz", scores=scores, targets=targets)

The JSON is {"metrics": {NAME: value}, ...}; a metric with nothing to average is null.
"""


def main(arguments: Sequence[str]) -> int:
    """Run the program with these command line arguments; returns the exit status."""
    parser = _parser()
    args = parser.parse_args(arguments)
    if (args.scores is None) == (args.run is None):
        parser.error("give either RUN_URL or --scores FILE.npz")
    if args.run is None and args.data is not None:
        parser.error("--data belongs to RUN_URL; a score file brings its own targets")
    report = _scores_report(args) if args.run is None else _run_report(args)
    method = report.get("method", "")
    print(metric_table({"value": report["metrics"]}, dataset=args.dataset, method=method))
    if args.json is not None:
        store, name = open_file(args.json)
        store.write(name, strict_json(report))
    return 0


def _scores_report(args: argparse.Namespace) -> dict[str, Any]:
    """Metrics of a score file, and what they were computed from."""
    store, name = open_file(args.scores)
    scores, targets = parse_scores(store.read(name), name=args.scores)
    threshold = 0.5 if args.threshold is None else args.threshold
    return {
        "metrics": evaluate(scores, targets, threshold=threshold),
        "threshold": threshold,
        "images": targets.shape[0],
        "labels": targets.shape[1],
    }


def _run_report(args: argparse.Namespace) -> dict[str, Any]:
    """Metrics of a trained run's best checkpoint on one split of a shard set."""
    # Importing torch takes seconds, which a score file need not wait for.
    from retdm.train.evaluated import evaluate_run
    from retdm.train.thresholds import fitted_thresholds

    store = open_store(args.run)
    found = evaluate_run(store, data_url=args.data or "", split=args.split)
    threshold = found.config.run.threshold if args.threshold is None else args.threshold
    names = found.data.label_space.names
    fitted = fitted_thresholds(store, names, checkpoint=found.checkpoint)
    return {
        "metrics": evaluate(found.scores, found.targets, threshold=threshold, fitted=fitted),
        "threshold": threshold,
        "images": len(found.targets),
        "bad_samples": found.bad.to_tables(),
        "labels": len(found.data.label_space),
        "run": store.url,
        "method": found.config.method,
        "data_digest": found.data.digest,
        "split": args.split,
    }


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.evaluate",
        description="Compute every metric of a trained run, or of scores from any model.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("run", nargs="?", metavar="RUN_URL", help="folder or URL of a trained run")
    parser.add_argument("--data", metavar="URL", help="shard set to evaluate RUN_URL on")
    parser.add_argument("--split", default="test", help="its split (default: %(default)s)")
    parser.add_argument("--scores", metavar="FILE.npz", help="scores and targets, path or URL")
    parser.add_argument(
        "--threshold",
        type=float,
        help="a label is predicted from this probability on (default: the run's, or 0.5)",
    )
    parser.add_argument(
        "--dataset",
        default="",
        metavar="NAME",
        help="show the published values beside: scene, mirflickr25k or coco2014",
    )
    parser.add_argument("--json", metavar="FILE", help="write the metrics here, path or URL")
    return parser


if __name__ == "__main__":
    sys.exit(console.run(lambda: main(sys.argv[1:])))
