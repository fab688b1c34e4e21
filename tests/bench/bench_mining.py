"""Finding the nearest distinct label sets, beside faiss-cpu's exact binary index.

    python tests/bench/bench_mining.py [--batch B] [--k K] [--rounds R] [--growth N ...]
        [--vgg-step]

Tables: COCO's 82,783 training rows, made of the 32,278 real ones repeated with fresh noise (one
cell in 500 flipped), and MIRFLICKR's real 25,000; from RETDM_TEST_DATA/labels. Both sides search
the whole table for the same batches, in turns on one core; figures are CPU time. faiss gets the
rows as a user has them, and also the distinct label sets, which is what the speed comes from.
Checked against a brute-force reference: the distances to the k nearest other label sets. What is
not there, real labels or faiss, is left out with a line that says so.

Then made-up tables of growing numbers of label sets, for what a step costs in time and memory: the
default, which searches the images of batch and bank, and `loss.neighbours = "exact"`, which
searches the table. `--vgg-step` also times a VGG-16 training step, of which mining is a share.
"""

import argparse
import ctypes
import os
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from peers.environment import peers_python

from retdm.bank import LabelSets, nearest_label_sets
from retdm.config import ModelSettings
from retdm.models import build_image_net

NOISE = 0.002
ROWS = 82_783
BANK = 8_192
GROWTH = ("10000x80", "100000x80", "1000000x80", "10000x9600", "50000x9600")
MIB = 2**20


def main() -> int:
    """Run both tables; returns 1 if a distance is wrong."""
    parser = argparse.ArgumentParser(description="Time the mining of neighbours beside faiss.")
    parser.add_argument("--batch", type=int, default=256, help="default: %(default)s")
    parser.add_argument("--k", type=int, default=10, help="default: %(default)s")
    parser.add_argument("--rounds", type=int, default=20, help="default: %(default)s")
    parser.add_argument(
        "--growth", nargs="*", default=GROWTH, help="made-up tables, SETSxLABELS (%(default)s)"
    )
    parser.add_argument("--vgg-step", action="store_true", help="takes minutes")
    args = parser.parse_args()
    # faiss is in the peers' environment, which has this one's torch: the whole runs there.
    if not find_spec("faiss") and (python := peers_or_none()) not in (None, sys.executable):
        return subprocess.run([python, __file__, *sys.argv[1:]]).returncode
    torch.set_num_threads(1)
    folder = Path(os.environ.get("RETDM_TEST_DATA", "../shared/data")) / "labels"
    right, slowest = True, 0.0
    if folder.is_dir():
        for name, targets in (("COCO-like", coco(folder)), ("MIRFLICKR", mirflickr(folder))):
            ok, took = table(name, targets, args)
            right, slowest = right and ok, max(slowest, took)
    else:
        print(f"real tables skipped: no {folder}; set RETDM_TEST_DATA to a folder with labels/")
    for size in args.growth:
        growth(*map(int, size.split("x")), args)
    if args.vgg_step and slowest:
        step = vgg_step(args.batch)
        print(f"VGG-16 step of {args.batch} images at 224 px, one core: {step:.0f} s; ", end="")
        print(f"mining is {slowest / step:.4%} of it")
    return 0 if right else 1


def peers_or_none() -> str | None:
    """The peers' interpreter; None where they cannot be installed."""
    try:
        return peers_python()
    except subprocess.CalledProcessError:
        return None


def coco(folder: Path) -> np.ndarray[Any, Any]:
    """The real rows, then copies of them with noise."""
    real = np.load(folder / "coco80_labels.npz")["labels"].astype(bool)
    out = np.concatenate([real] * 3)[:ROWS]
    noise = np.random.default_rng(0).random(out.shape) < NOISE
    noise[: len(real)] = False
    return out ^ noise


def mirflickr(folder: Path) -> np.ndarray[Any, Any]:
    """The 24 labels that the paper uses."""
    return np.load(folder / "mirflickr25k_labels.npz")["labels24"].astype(bool)


def table(
    name: str, targets: np.ndarray[Any, Any], args: argparse.Namespace
) -> tuple[bool, float]:
    """Print one table's figures; whether distances are right, and seconds a batch."""
    rng = np.random.default_rng(1)
    sets = LabelSets(torch.from_numpy(targets))
    batches = [rng.permutation(len(targets))[: args.batch] for _ in range(args.rounds + 1)]
    print(f"{name}: {targets.shape[0]} rows x {targets.shape[1]} labels, {len(sets)} label sets")

    def ours(number: int) -> Any:
        anchors = sets.set_id[torch.from_numpy(batches[number])]
        return anchors, *nearest_label_sets(anchors, sets, None, k=args.k, seed=0, step=number)

    right = all(same_distances(sets, *ours(number)) for number in range(2))
    print(f"  distances {'equal' if right else 'DIFFER from'} those of a brute-force search")
    runs = {"ours": ours} | faiss_runs(targets, sets, batches, args.k)
    times: dict[str, list[float]] = {run: [] for run in runs}
    for number in range(args.rounds + 1):
        for run, search in runs.items():
            begin = time.process_time()
            search(number)
            times[run].append(time.process_time() - begin)
    for run, took in times.items():
        ratio = median(a / b for a, b in zip(took[1:], times["ours"][1:], strict=True))
        beside = "" if run == "ours" else f", {ratio:.1f} times ours"
        print(f"  {run:28}{median(took[1:]) * 1e3:8.1f} ms a batch of {args.batch}{beside}")
    return right, median(times["ours"][1:])


def faiss_runs(
    targets: np.ndarray[Any, Any], sets: LabelSets, batches: list[Any], k: int
) -> dict[str, Callable[[int], Any]]:
    """The exact binary index over all rows, and the distinct label sets; none without faiss."""
    if not find_spec("faiss"):
        print("  faiss skipped: it is not installed (peers/requirements.txt has it)")
        return {}
    import faiss

    faiss.omp_set_num_threads(1)
    rows = np.packbits(targets, axis=1)
    distinct = np.packbits(sets.targets.numpy(), axis=1)
    set_id = sets.set_id.numpy()
    indexes = {}
    for name, codes in (("rows", rows), ("sets", distinct)):
        indexes[name] = faiss.IndexBinaryFlat(codes.shape[1] * 8)
        indexes[name].add(codes)
    return {
        "faiss over the rows": lambda n: indexes["rows"].search(rows[batches[n]], k),
        "faiss over the label sets": lambda n: indexes["sets"].search(
            distinct[set_id[batches[n]]], k + 1
        ),
    }


def same_distances(
    sets: LabelSets, anchors: torch.Tensor, found: torch.Tensor, mask: torch.Tensor
) -> bool:
    """Compare the sorted distances with those of a search through everything."""
    for anchor, near, real in zip(anchors.tolist(), found, mask, strict=True):
        distance = (sets.targets ^ sets.targets[anchor]).sum(1)
        distance[anchor] = sets.targets.shape[1] + 1
        if not real.all() or (distance[near] != distance.sort().values[: len(near)]).any():
            return False
    return True


def growth(count: int, labels: int, args: argparse.Namespace) -> None:
    """What a step costs in a table of `count` made-up label sets, with the default and exact."""
    sets = made_up(count, labels)
    rng = np.random.default_rng(2)

    # Each image another label set: the most that batch and bank can hold.
    images = sets.set_id[torch.from_numpy(rng.permutation(count)[: BANK + args.batch])]
    anchors = images[: args.batch]
    print(
        f"{len(sets)} label sets of {labels} labels, held in {sets.targets.nbytes / MIB:.0f} MiB:"
    )
    for among, searched in (("batch and bank", images), ("exact", None)):
        took = []
        before = most_memory(anew=True)
        for number in range(max(args.rounds // 4, 1) + 1):
            begin = time.process_time()
            nearest_label_sets(anchors, sets, searched, k=args.k, seed=0, step=number)
            took.append(time.process_time() - begin)
        added = most_memory() - before
        print(
            f"  {among:16}{median(took[1:]) * 1e3:9.1f} ms a batch{added:9.1f} MiB more",
            flush=True,
        )


def made_up(count: int, labels: int) -> LabelSets:
    """As many different label sets of up to 8 labels, few of them frequent."""
    rng = np.random.default_rng(2)
    targets = torch.zeros(count, labels, dtype=torch.bool)
    chosen = torch.from_numpy(rng.zipf(1.3, (count, 8)) % labels)
    targets.scatter_(1, chosen, True)
    # The number in binary, on the last labels: no two rows are alike.
    digits = count.bit_length()
    targets[:, -digits:] = torch.arange(count)[:, None].bitwise_and(2 ** torch.arange(digits)) > 0
    return LabelSets(targets)


def most_memory(*, anew: bool = False) -> float:
    """MiB that this process has held at most, since it was last asked `anew`."""
    if anew:
        ctypes.CDLL(None).malloc_trim(0)  # what is free already is not to hide what is added
        Path("/proc/self/clear_refs").write_text("5")
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmHWM")) / 1024


def vgg_step(batch: int, part: int = 16) -> float:
    """Seconds of forward and backward for `batch` images, from the time of a smaller part."""
    net = build_image_net(ModelSettings(weights="none"), image_size=224).train()
    images = torch.randint(0, 256, (part, 3, 224, 224), dtype=torch.uint8)
    begin = time.perf_counter()
    net(images).square().mean().backward()
    return (time.perf_counter() - begin) * batch / part


if __name__ == "__main__":
    sys.exit(main())
