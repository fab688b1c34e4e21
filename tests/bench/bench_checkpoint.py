"""What checkpoints inside an epoch cost the training steps, and how long they take to be stored.

    python tests/bench/bench_checkpoint.py [--backbone NAME] [--rows N] [--every S] [--rounds R]

Starts the S3 server of cluster/local on one core and trains by BCE on the other, at 224 px, in
blocks of S steps: one with a checkpoint after its first step, as `checkpoint.every_steps=S` writes
them, and one without, in turns. Prints the medians over R pairs of blocks: their ratio, the time
that the copy of the state takes, for which training stands still, and that until the checkpoint is
on storage, beside training.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from statistics import median
from typing import Any

import torch
from machine import one_line

from retdm.bank import LabelSets
from retdm.config import Config, parse
from retdm.data.batch import Batch
from retdm.data.plan import Position
from retdm.methods import StepContext, build_method
from retdm.storage import open_store
from retdm.train.attempt import begin_attempt
from retdm.train.checkpoint import Progress, TrainingState
from retdm.train.keeper import Keeper
from retdm.train.schedule import StageOptimizer

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cluster/local"))
import s3_server

LABELS = 80


def main() -> int:
    """Train in blocks, print."""
    parser = argparse.ArgumentParser(description="Time training steps beside checkpoints.")
    parser.add_argument("--backbone", default="timm:tf_efficientnet_lite0")
    parser.add_argument("--rows", type=int, default=8, help="images a step (%(default)s)")
    parser.add_argument("--every", type=int, default=20, help="steps of a block (%(default)s)")
    parser.add_argument("--rounds", type=int, default=5, help="pairs of blocks (%(default)s)")
    args = parser.parse_args()
    torch.set_num_threads(1)
    cores = sorted(os.sched_getaffinity(0))
    print(one_line())
    with tempfile.TemporaryDirectory() as folder:
        os.sched_setaffinity(0, {cores[0]})  # where the server stays
        os.environ |= s3_server.start(Path(folder), bucket="bench", tied=True)
        # The thread that writes may use either.
        os.sched_setaffinity(0, set(cores))
        try:
            _measure(args)
        finally:
            s3_server.stop(Path(folder))
    return 0


def _measure(args: argparse.Namespace) -> None:
    training = Training(args.backbone, args.rows)
    store = open_store("s3://bench/run")
    claim = begin_attempt(store)
    keeper = Keeper(store, claim, from_step=0, keep_best=1, before=lambda: None)
    training.step()
    ratios, copies, stored = [], [], []
    plain = float("nan")
    for number in range(2 * args.rounds):
        begun = time.perf_counter()
        training.step()
        if number % 2:
            before = time.perf_counter()
            keeper.save(training.state(number), f"block{number}")
            copies.append(time.perf_counter() - before)
        for _ in range(args.every - 1):
            training.step()
            if number % 2 and not keeper.busy and len(stored) < len(copies):
                stored.append(time.perf_counter() - before)
        elapsed = time.perf_counter() - begun
        keeper.wait()
        if number % 2:
            ratios.append(elapsed / plain)
        else:
            plain = elapsed
    keeper.close()
    [size] = {keeper.store.size(name) for name in keeper.store.names("checkpoints/")}
    print(
        f"{args.backbone}, {args.rows} images a step, one step {plain / args.every:.3f} s; a "
        f"checkpoint of {size / 1e6:.0f} MB every {args.every} steps:\n"
        f"  steps take {median(ratios):.3f} times as long ({min(ratios):.3f} to "
        f"{max(ratios):.3f}); training stands still for {median(copies) * 1000:.0f} ms"
    )
    if stored:
        print(f"  on storage after {median(stored):.2f} s")


class Training:
    """BCE steps on noise."""

    def __init__(self, backbone: str, rows: int) -> None:
        table: dict[str, Any] = {
            "method": "bce",
            "model": {"backbone": backbone, "weights": "none"},
        }
        self.config = parse(Config, table, source="bench")
        self.method = build_method(self.config, LABELS)
        self.optimizer = StageOptimizer(
            list(self.method.parameters()), self.config.optimizer, lr=0.001
        )
        sets = LabelSets(torch.rand(64, LABELS) < 2.9 / LABELS)
        indices = torch.randint(0, 64, (rows,))
        images = torch.randint(0, 256, (rows, 3, 224, 224), dtype=torch.uint8)
        valid = torch.ones(rows, dtype=torch.bool)
        self.batch = Batch(images, sets.targets[sets.set_id[indices]], indices, valid, rows)
        self.context = StepContext(
            losses=frozenset({"classification"}),
            bank=None,
            use_bank=False,
            label_sets=sets,
            seed=0,
            step=0,
        )

    def step(self) -> None:
        """Forward, backward, update."""
        norm = self.optimizer.backward(self.method(self.batch, self.context).total)
        self.optimizer.step(norm)

    def state(self, number: int) -> TrainingState:
        """What a checkpoint of a run holds."""
        data = Position(
            seed=0,
            epoch=0,
            next_batch=number,
            digest="",
            batch_size=len(self.batch.images),
            window=1,
        )
        return TrainingState(
            model=self.method.state_dict(),
            optimizer=self.optimizer.state_dict(),
            bank={},
            progress=Progress(data, stage="1", epoch=0, step=number),
            history=[],
            bad_samples=[],
            config=self.config.model_dump(mode="json"),
            labels=tuple(str(label) for label in range(LABELS)),
        )


if __name__ == "__main__":
    sys.exit(main())
