"""How well a window of shards shuffles, beside a full permutation of the epoch.

    python tests/bench/bench_shuffle.py [LABELS.npz ...] [--shard-size N] [--batch-size B]

For real label matrices (arrays called labels* in .npz files; by default those in the folder
`labels` of RETDM_TEST_DATA) and shards of N samples, once as our builder fills them (in an order
drawn by hash) and once sorted by class, the worst that adopted shards can be. For each window:

- shards: distinct shards met in a batch.
- spread: variance of the label counts of a batch over that of a full permutation (hypergeometric,
  summed over labels); 1 is ideal, more means that batches differ more than chance would have it.
- again: of a sample's companions in its batch, the share that are its companions in the next
  epoch too. Full permutation: (B - 1) / (N - 1).
"""

import argparse
import os
import sys
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from retdm.data.order import Rows, epoch_order, resolve_window

ROOT = Path(__file__).resolve().parents[2]
WINDOWS = (1, 2, 4, 8, 16, 32, 64, 128)
EPOCHS = 6

Labels = npt.NDArray[np.bool_]


def main() -> int:
    """Print one table for each label matrix and arrangement."""
    parser = argparse.ArgumentParser(description="Measure the quality of the window shuffle.")
    parser.add_argument("labels", nargs="*", type=Path)
    parser.add_argument("--shard-size", type=int, default=100, help="samples; default: 100")
    parser.add_argument("--batch-size", type=int, default=256, help="default: 256")
    args = parser.parse_args()
    folder = Path(os.environ.get("RETDM_TEST_DATA") or ROOT.parent / "shared/data")
    paths = args.labels or sorted(folder.glob("labels/*.npz"))
    if not paths:
        print(
            f"skipped: no {folder}/labels/*.npz; set RETDM_TEST_DATA to a folder that has them, "
            "or give .npz files with an array called labels*"
        )
    for path in paths:
        labels = _read(path)
        _study(path.stem, labels, args.shard_size, args.batch_size)
    return 0


def _read(path: Path) -> Labels:
    content = np.load(path)
    name = next(name for name in content.files if name.startswith("labels"))
    return content[name] > 0


def _study(name: str, labels: Labels, shard_size: int, batch_size: int) -> None:
    samples = len(labels)
    sizes = [min(shard_size, samples - at) for at in range(0, samples, shard_size)]
    hashed = np.random.default_rng(0).permutation(samples)
    automatic = resolve_window(0, sizes)
    print(
        f"{name}: {samples} samples in {len(sizes)} shards of {shard_size}, batches of "
        f"{batch_size}; the automatic window is {automatic}"
    )
    print(f"{'':>10}{'built by hash':>28}{'sorted by class':>28}")
    print(f"{'window':>10}" + 2 * f"{'shards':>9}{'spread':>9}{'again':>10}")
    for window in sorted({*WINDOWS, automatic, len(sizes)}):
        if window > len(sizes):
            continue
        orders = [
            epoch_order(
                sizes, digest=name, split="train", seed=0, epoch=epoch, window=window
            ).rows(0, samples)
            for epoch in range(EPOCHS)
        ]
        line = f"{window:10}"
        for arranged in (labels[hashed], labels[_by_class(labels)]):
            shards = np.mean([_shards_met(o // shard_size, batch_size) for o in orders])
            spread = np.mean([_spread(arranged[o], batch_size) for o in orders])
            again = np.mean([_met_again(a, b, batch_size) for a, b in pairwise(orders)])
            line += f"{shards:9.1f}{spread:9.2f}{100 * again:8.2f} %"
        print(line + ("  all shards" if window == len(sizes) else ""))
    print()


def _by_class(labels: Labels) -> Rows:
    """Samples by their rarest label, as a folder for each class would hold them."""
    counts = labels.sum(axis=0)
    rarest = np.where(labels, counts, len(labels) + 1).argmin(axis=1)
    return np.lexsort((np.random.default_rng(1).random(len(labels)), rarest))


def _whole_batches(values: npt.NDArray[np.generic], size: int) -> npt.NDArray[np.generic]:
    count = len(values) // size
    return values[: count * size].reshape(count, size, *values.shape[1:])


def _shards_met(shards: Rows, size: int) -> float:
    return float(np.mean([len(np.unique(batch)) for batch in _whole_batches(shards, size)]))


def _spread(labels: Labels, size: int) -> float:
    counts = _whole_batches(labels, size).sum(axis=1)
    share = labels.mean(axis=0)
    ideal = size * share * (1 - share) * (len(labels) - size) / (len(labels) - 1)
    return float(((counts - size * share) ** 2).mean(axis=0).sum() / ideal.sum())


def _met_again(one: Rows, next_one: Rows, size: int) -> float:
    """Share of the pairs of a batch in one epoch that share a batch in the next."""
    batch = np.empty(len(one), dtype=np.int64)
    batch[next_one] = np.arange(len(one)) // size
    met = 0
    later = _whole_batches(batch[one], size)
    for batches in later:
        _, counts = np.unique(batches, return_counts=True)
        met += int((counts * (counts - 1)).sum())
    return met / (len(later) * size * (size - 1))


if __name__ == "__main__":
    sys.exit(main())
