"""How long the metrics take at COCO's size, beside scikit-learn.

    python tests/bench/bench_metrics.py [--images N] [--labels L] [--repeats R]

Prints, for each part, our seconds, scikit-learn's and their ratio, checks that the values agree,
and ends with the time of the whole `evaluate` and the memory that it allocates at its peak.
"""

import argparse
import sys
import time
import tracemalloc
from collections.abc import Callable

import numpy as np
from sklearn import metrics as sk

from retdm.evaluation import evaluate
from retdm.evaluation.counts import count, hamming_loss, over_threshold, precision_recall
from retdm.evaluation.inputs import Scores, Targets
from retdm.evaluation.per_label import average_precision_per_label
from retdm.evaluation.ranking import rank


def main() -> int:
    """Run the comparison; returns 1 if a value differs from scikit-learn's."""
    parser = argparse.ArgumentParser(description="Time the metrics beside scikit-learn.")
    parser.add_argument("--images", type=int, default=40_504, help="default: %(default)s")
    parser.add_argument("--labels", type=int, default=80, help="default: %(default)s")
    parser.add_argument("--repeats", type=int, default=3, help="best of; default: %(default)s")
    args = parser.parse_args()
    scores, targets = case(args.images, args.labels)
    print(f"{args.images} images x {args.labels} labels, float32, best of {args.repeats}")
    print(f"{'':24}{'retdm s':>9}{'sklearn s':>11}{'ratio':>9}  values")
    agree = True
    for name, ours, theirs in parts(scores, targets):
        mine, my_values = timed(ours, args.repeats)
        other, their_values = timed(theirs, 1)
        same = np.allclose(my_values, their_values, rtol=0, atol=1e-9)
        agree &= same
        verdict = "equal" if same else f"DIFFER: {my_values} {their_values}"
        print(f"{name:24}{mine:9.3f}{other:11.3f}{mine / other:9.3f}  {verdict}")
    whole, _ = timed(lambda: list(evaluate(scores, targets).values()), args.repeats)
    print(f"{'evaluate, all families':24}{whole:9.3f}")
    given = (scores.nbytes + targets.nbytes) / 2**20
    print(f"at its peak it holds {peak_mib(scores, targets):.0f} MiB beside its {given:.0f} MiB")
    return 0 if agree else 1


def case(images: int, labels: int) -> tuple[Scores, Targets]:
    """Scores with some skill and about as many labels an image as COCO (2.9)."""
    rng = np.random.default_rng(0)
    targets = rng.random((images, labels)) < 2.9 / labels
    scores = rng.random((images, labels), dtype=np.float32)
    # The rounding makes ties, which are the slower and harder case.
    return (0.7 * scores + 0.3 * targets).round(4).astype(np.float32), targets


def parts(
    scores: Scores, targets: Targets
) -> list[tuple[str, Callable[[], list[float]], Callable[[], list[float]]]]:
    """Name, our computation and scikit-learn's; both return the same list of values."""
    predicted = over_threshold(scores, 0.5)

    def our_ranking() -> list[float]:
        found = rank(scores, targets)
        return [found.ranking_loss, found.coverage, found.average_precision]

    def their_ranking() -> list[float]:
        return [
            sk.label_ranking_loss(targets, scores),
            sk.coverage_error(targets, scores),
            sk.label_ranking_average_precision_score(targets, scores),
        ]

    def our_counts() -> list[float]:
        found = precision_recall(count(predicted, targets))
        names = ("CP", "CR", "CF1_mean", "OP", "OR", "OF1")
        return [*(found[name] for name in names), hamming_loss(predicted, targets)]

    def their_counts() -> list[float]:
        figures = [
            sk.precision_recall_fscore_support(targets, predicted, average=a, zero_division=0)[:3]
            for a in ("macro", "micro")
        ]
        return [*figures[0], *figures[1], sk.hamming_loss(targets, predicted)]

    return [
        ("ranking metrics", our_ranking, their_ranking),
        (
            "average precision",
            lambda: average_precision_per_label(scores, targets).tolist(),
            lambda: sk.average_precision_score(targets, scores, average=None).tolist(),
        ),
        ("precision, recall, F1", our_counts, their_counts),
    ]


def timed(function: Callable[[], list[float]], repeats: int) -> tuple[float, list[float]]:
    """The shortest of `repeats` runs in seconds, and what the function returned."""
    seconds = []
    for _ in range(repeats):
        started = time.perf_counter()
        values = function()
        seconds.append(time.perf_counter() - started)
    return min(seconds), values


def peak_mib(scores: Scores, targets: Targets) -> float:
    """Most memory that one `evaluate` holds at a time, beyond its arguments, in MiB."""
    tracemalloc.start()
    evaluate(scores, targets)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    return peak / 2**20


if __name__ == "__main__":
    sys.exit(main())
