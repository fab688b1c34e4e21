"""What looking for numbers that are not finite costs a training step.

    python tests/bench/bench_finite.py [--backbones A B] [--rows N] [--steps S] [--workers W]

Workers on this machine's CPUs (gloo, DDP) take RETDM's steps of stage 3 as a run does, and clock
what there is in each step for this purpose: the copy of the buffers, the norm of all gradients
(which clipping needs as well), the look at it and the loss parts, and the ranks' agreement, which
includes waiting for one another. Prints medians over the steps.
"""

import argparse
import sys
import time
from collections import defaultdict
from pathlib import Path
from statistics import median
from typing import Any

import torch
import torch.distributed as dist
from bench_step import LABELS, SETS, meet, photos, time_backbones

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config, parse
from retdm.methods import Clock, MicroBatches, build_method
from retdm.train import schedule, step
from retdm.train.schedule import StageOptimizer
from retdm.train.stages import enter, plan_stages
from retdm.train.step import Stepper
from retdm.train.undo import BufferCopy

WHERE: dict[str, tuple[Any, str]] = {
    "copy of the buffers": (BufferCopy, "take"),
    "norm of all gradients": (schedule.nn.utils, "get_total_norm"),
    "look at norm and loss parts": (step, "all_finite"),
    "agreement of the ranks": (comm, "any_rank"),
}


def main() -> int:
    """Time each backbone."""
    return time_backbones(worker, description="Time the search for numbers that are wrong.")


def worker(rank: int, args: argparse.Namespace, backbone: str, folder: str) -> None:
    """One of the DDP workers; the first one reports."""
    meet(rank, args, folder)
    stepper, sets = make(backbone)
    batch = photos(rank, args, sets)
    stepper.train(batch)
    seconds: dict[str, list[float]] = defaultdict(list)
    for name, (owner, function) in WHERE.items():
        setattr(owner, function, clocked(getattr(owner, function), seconds[name]))
    whole = clocked(stepper.train, seconds["step"])
    for _ in range(args.steps):
        dist.barrier()
        whole(batch)
    if rank == 0:
        all_of = median(seconds.pop("step"))
        lines = [
            f"{backbone}: {args.workers} workers, {args.rows} images each at 224 px; "
            f"step {all_of:.2f} s"
        ]
        parts = {name: median(times) for name, times in seconds.items()}
        for name, part in {**parts, "all of it": sum(parts.values())}.items():
            lines.append(f"{name}: {part * 1e3:.2f} ms, {part / all_of:.2%} of the step")
        Path(folder, "report").write_text("\n  ".join(lines))
    dist.destroy_process_group()


def make(backbone: str) -> tuple[Stepper, LabelSets]:
    """RETDM's stepper in its last stage, with fresh weights."""
    table = {"model": {"backbone": backbone, "weights": "none"}, "optimizer": {"lr": 1e-4}}
    config = parse(Config, table, source="bench")
    sets = LabelSets(torch.rand(SETS, LABELS, generator=torch.Generator()) < 2.9 / LABELS)
    method = build_method(config, LABELS)
    stage = plan_stages(config, method)[-1]
    optimizer = StageOptimizer(enter(stage, method), config.optimizer, stage.lr)
    bank, device = Bank(config.bank.size, 512), torch.device("cpu")
    return Stepper(
        *(config, stage, method, optimizer, bank, sets, MicroBatches(), device),
        step=0,
        stage_step=0,
        clock=Clock(),
    ), sets


def clocked(function: Any, seconds: list[float]) -> Any:
    """The function; each call adds its time."""

    def timed(*args: Any) -> Any:
        begin = time.perf_counter()
        result = function(*args)
        seconds.append(time.perf_counter() - begin)
        return result

    return timed


if __name__ == "__main__":
    sys.exit(main())
