"""What a RETDM training step costs beside the BCE step of the same backbone.

    python tests/bench/bench_step.py [--backbones A B] [--rows N] [--steps S] [--workers W]

Two workers on this machine's CPUs (gloo, DDP), stage 3, two ways, bank of 8,192 rows that is full,
k = 10, 80 labels. Each worker runs a plain BCE step and another step in pairs on the same images:
RETDM's, and BCE's with bfloat16 gradients, with smaller and larger DDP buckets, and once more as
it is, which shows what is noise. Every second pair begins with the other step, so that being
first, or second, is worth nothing. Prints the medians of the pairs' ratios, and the bytes that
eight workers of 32 images would send.
"""

import argparse
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from torch.multiprocessing.spawn import spawn

from retdm.bank import Bank, BankRows, LabelSets
from retdm.config import Config, parse
from retdm.data.batch import Batch
from retdm.methods import StepContext, build_method
from retdm.train.step import distributed

Worker = Callable[[int, argparse.Namespace, str, str], None]
LABELS, SETS, BANK = 80, 8_000, 8_192
WORKERS, ROWS = 8, 32
"""Of the traffic that is printed."""
LOSSES = frozenset({"classification", "metric", "reconstruction"})
OTHERS: dict[str, tuple[str, dict[str, Any]]] = {
    "RETDM": ("retdm", {}),
    "the same BCE step": ("bce", {}),
    "bfloat16 gradients": ("bce", {"gradients": "bf16"}),
    "buckets of 5 MiB instead of 25": ("bce", {"bucket_mib": 5}),
    "buckets of 100 MiB": ("bce", {"bucket_mib": 100}),
}


def main() -> int:
    """Time each backbone."""
    return time_backbones(worker, description="Time a RETDM step beside a BCE step.")


def time_backbones(worker: Worker, *, description: str) -> int:
    """Run DDP workers for each backbone of the command line, and print what the first reports.

    Args:
        worker: Writes the file `report` in the folder that it is given.
        description: For `--help`.
    """
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--backbones", nargs="+", default=["timm:tf_efficientnet_lite0", "vgg16"])
    parser.add_argument("--rows", type=int, default=8, help="images a worker (%(default)s)")
    parser.add_argument("--steps", type=int, default=8, help="times each is taken (%(default)s)")
    parser.add_argument("--workers", type=int, default=2, help="default: %(default)s")
    args = parser.parse_args()
    for backbone in args.backbones:
        with tempfile.TemporaryDirectory() as folder:
            spawn(worker, (args, backbone, folder), nprocs=args.workers)
            print(Path(folder, "report").read_text(), flush=True)
    return 0


def meet(rank: int, args: argparse.Namespace, folder: str) -> None:
    """Begin as one of the DDP workers, on one core."""
    torch.set_num_threads(1)
    dist.init_process_group(
        "gloo", init_method=f"file://{folder}/meet", rank=rank, world_size=args.workers
    )


def worker(rank: int, args: argparse.Namespace, backbone: str, folder: str) -> None:
    """One of the DDP workers; the first one reports."""
    meet(rank, args, folder)
    sets = LabelSets(torch.rand(SETS, LABELS, generator=_rng(0)) < 2.9 / LABELS)
    bank = Bank(BANK, 512)
    samples = torch.arange(BANK) % len(sets.set_id)
    embeddings = torch.randn(BANK, 512, generator=_rng(1))
    bank.push(BankRows(embeddings, sets.set_id[samples], samples), step=0)
    batch = photos(rank, args, sets)
    lines, seconds = [], []
    plain = Step("bce", backbone, sets, bank)
    for name, (method, run) in OTHERS.items():
        # One at a time beside it: VGG-16 with its gradients and momentum takes 1.6 GB.
        other = Step(method, backbone, sets, bank, **run)
        pairs = [pair(plain, other, batch, number) for number in range(args.steps + 1)][1:]
        seconds += [one for one, _ in pairs]
        lines.append(f"{name}: {median(b / a for a, b in pairs):.3f} times the BCE step")
        if method == "retdm":
            lines.append(describe(other.module.module))
    if rank == 0:
        head = f"{backbone}: {args.workers} workers, {args.rows} images each at 224 px"
        head += f"; BCE step {median(seconds):.2f} s"
        Path(folder, "report").write_text("\n  ".join((head, *lines)))
    dist.destroy_process_group()


def pair(plain: "Step", other: "Step", batch: Batch, number: int) -> tuple[float, float]:
    """Seconds of both steps; the other one is first where `number` is odd."""
    if number % 2:
        second = clocked(other, batch, number)
        return clocked(plain, batch, number), second
    return clocked(plain, batch, number), clocked(other, batch, number)


def clocked(step: "Step", batch: Batch, number: int) -> float:
    """Seconds of one step, which all workers begin together."""
    dist.barrier()
    begin = time.perf_counter()
    step(batch, number)
    return time.perf_counter() - begin


class Step:
    """Forward, backward, update of one method."""

    def __init__(
        self, method: str, backbone: str, sets: LabelSets, bank: Bank, **run: str | int
    ) -> None:
        table: dict[str, Any] = {
            "method": method,
            "model": {"backbone": backbone, "weights": "none"},
            "run": run,
        }
        config = parse(Config, table, source="bench")
        network = build_method(config, LABELS)
        self.module = distributed(network, torch.device("cpu"), config.run)
        self.optimizer = torch.optim.SGD(self.module.parameters(), lr=0.01, momentum=0.9)
        self.sets, self.bank = sets, bank

    def __call__(self, batch: Batch, number: int) -> None:
        context = StepContext(LOSSES, self.bank, True, self.sets, seed=0, step=number)
        output = self.module(batch, context)
        output.total.backward()
        self.optimizer.step()
        self.optimizer.zero_grad()
        if output.rows is not None:
            self.bank.push(output.rows, step=number)


def photos(rank: int, args: argparse.Namespace, sets: LabelSets) -> Batch:
    """Noise in the size of photos; the work does not depend on what they show."""
    images = torch.randint(
        0, 256, (args.rows, 3, 224, 224), dtype=torch.uint8, generator=_rng(rank)
    )
    indices = torch.randint(0, SETS, (args.rows,), generator=_rng(9 + rank))
    valid = torch.ones(args.rows, dtype=torch.bool)
    targets = sets.targets[sets.set_id[indices]]
    return Batch(images, targets, indices, valid, args.rows * args.workers)


def describe(network: Any) -> str:
    """What RETDM's step moves between workers, by its parameters and the shapes of its batch."""
    counts = {
        name: sum(p.numel() for p in part.parameters()) for name, part in network.parts.items()
    }
    largest, most = max(
        ((name, p.numel()) for name, p in network.named_parameters()), key=lambda each: each[1]
    )
    total = sum(counts.values())
    gathered = WORKERS * ROWS * (512 * 4 + 8)
    ring = 2 * (WORKERS - 1) / WORKERS * total * 4
    return "\n  ".join(
        (
            "parameters: " + ", ".join(f"{name} {n / 1e6:.2f} M" for name, n in counts.items()),
            f"{WORKERS} workers of {ROWS} images: {gathered / 1e6:.2f} MB of embeddings and "
            "sample numbers gathered a step, as much gradient scattered back;",
            f"gradients {total * 4 / 1e6:.1f} MB, of which a ring all-reduce has each worker send "
            f"2 (W - 1) / W times as much, {ring / 1e6:.1f} MB, half of it in bfloat16;",
            f"{most / total:.1%} of them are those of {largest}",
        )
    )


def _rng(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


if __name__ == "__main__":
    sys.exit(main())
