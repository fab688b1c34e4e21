"""What the order of an epoch costs in time and memory, up to a billion samples.

    python tests/bench/bench_plan.py [--samples N --shards S] [--rounds R]

For each size, in a process of its own: the time until the first batch at the start, at batch
10,000 and at the last batch, each from nothing (the lists of shards are given); the time per
batch over 2000 batches; the first shards for read-ahead; and how much memory grew. Beside it, a
full permutation by numpy, which is what the order would cost without windows. Then the same
through the whole loader: time to first batch at batch 0 and at batch 10,000 of a set of 20,480
small photos, reading and decoding included. The best of R rounds (of 8 R through the loader).
"""

import argparse
import itertools
import multiprocessing
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from retdm.config import DataSettings
from retdm.data.loader import TrainingLoader
from retdm.data.order import Order, epoch_order, resolve_window
from retdm.data.plan import Cut, coming_shards, num_batches, part_of
from retdm.data.split import open_split

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))
from tests.data.conftest import build, jpeg

SIZES = ((1_200_000, 1_200), (100_000_000, 10_000), (1_000_000_000, 100_000))
# Eight bytes each for 1 B samples would not fit everywhere.
LARGEST_PERMUTATION = 100_000_000
CUT = Cut(batch_size=256, part=0, parts=8, min_rows=2)


def main() -> int:
    """Measure and print."""
    parser = argparse.ArgumentParser(description="Time the plan for large sets.")
    parser.add_argument("--samples", type=int, help="one size only")
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    sizes = [(args.samples, args.shards)] if args.samples else SIZES
    print(f"{'':>15}{'':>9}{'':>8}{'ms to first batch at':>30}{'us per':>9}{'ms to':>9}{'MiB':>8}")
    print(
        f"{'samples':>15}{'shards':>9}{'window':>8}{'0':>10}{'10,000':>10}{'the last':>10}"
        f"{'batch':>9}{'shards':>9}{'more':>8}"
    )
    for samples, shards in sizes:
        print(_apart(_lazy, samples, shards, args.rounds))
        if samples <= LARGEST_PERMUTATION:
            print(_apart(_permuted, samples, shards, args.rounds))
    _through_the_loader(args.rounds)
    return 0


def _apart(measure: Callable[..., str], *args: int) -> str:
    """Call in a new process, whose peak of memory is its own."""
    with multiprocessing.get_context("spawn").Pool(1) as pool:
        return pool.apply(measure, args)


def _lazy(samples: int, shards: int, rounds: int) -> str:
    sizes = [samples // shards] * shards
    window = resolve_window(0, sizes)
    last = num_batches(sum(sizes), CUT.batch_size) - 1
    before = _peak_mib()

    def order() -> Order:
        return epoch_order(sizes, digest="d", split="train", seed=0, epoch=0, window=window)

    def first_at(batch: int) -> float:
        return _best(lambda: part_of(order(), min(batch, last), CUT), rounds)

    firsts = [first_at(batch) for batch in (0, 10_000, last)]
    ahead = _best(lambda: list(itertools.islice(coming_shards(order(), 0, [CUT]), 16)), rounds)
    whole, count = order(), min(2000, last)
    started = time.perf_counter()
    for batch in range(count):
        part_of(whole, batch, CUT)
    each = (time.perf_counter() - started) / count
    return (
        f"{samples:15,}{shards:9,}{window:8}"
        + "".join(f"{1e3 * seconds:10.1f}" for seconds in firsts)
        + f"{1e6 * each:9.0f}{1e3 * ahead:9.1f}{_peak_mib() - before:8.0f}"
    )


def _permuted(samples: int, _shards: int, _rounds: int) -> str:
    before = _peak_mib()
    seconds = _best(lambda: np.random.default_rng(0).permutation(samples), 1)
    return (
        f"{'permutation':>15}{'':>9}{'':>8}{1e3 * seconds:10.1f}{'same':>10}{'same':>10}"
        f"{'':>18}{_peak_mib() - before:8.0f}"
    )


def _best(work: Callable[[], object], rounds: int) -> float:
    seconds = []
    for _ in range(rounds):
        started = time.perf_counter()
        work()
        seconds.append(time.perf_counter() - started)
    return min(seconds)


def _peak_mib() -> float:
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def _through_the_loader(rounds: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        photos = [jpeg(number, width=320, height=240) for number in range(16)]
        build(folder, photos * 1280, per_shard=1024)
        data = open_split(folder, "train")
        # No crops: their sizes would differ, and with them the time to decode.
        settings = DataSettings(url=folder, batch_size=2, loader_workers=0, augment="none")
        seconds: dict[int, list[float]] = {0: [], 10_000: []}
        for _ in range(8 * rounds):
            for batch, taken in seconds.items():
                started = time.perf_counter()
                loader = TrainingLoader(data, settings, seed=0, rank=0, world_size=1)
                next(loader.epoch(0, batch))
                taken.append(time.perf_counter() - started)
    start, later = (min(taken) for taken in seconds.values())
    print(
        f"\nfirst batch of 2 photos through the loader: {1e3 * start:.1f} ms at batch 0, "
        f"{1e3 * later:.1f} ms at batch 10,000, ratio {later / start:.2f}"
    )


if __name__ == "__main__":
    sys.exit(main())
