"""What it costs a training step that the run is watched.

    python tests/bench/bench_watch.py [--backbones A B] [--rows N] [--steps S] [--workers W]

Workers on this machine's CPUs (gloo, DDP) take RETDM's steps of stage 3 in pairs on the same
images: with the clock of a run, and with one that does nothing. Every second pair begins with the
other one. Prints the median of the pairs' ratios, that of pairs of two steps without a clock,
which shows what is noise, and what the thread takes that hands all metrics to Ray every five
seconds.
"""

import argparse
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from types import SimpleNamespace
from typing import Any

import torch
import torch.distributed as dist
from bench_finite import make
from bench_step import meet, photos, time_backbones

from retdm.data.batch import Batch
from retdm.methods import Clock
from retdm.methods.clock import Part
from retdm.onray.publishing import Publisher
from retdm.train.readings import readings
from retdm.train.step import Stepper, exchange_share

_PUBLISHED = 200
_TURNS = 1000
_EVERY_S = 5.0


class NoClock(Clock):
    """Looks at no time."""

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """Count nothing."""
        yield

    def split(self, part: Part, into: Part, share: float) -> None:
        """Count nothing."""


def main() -> int:
    """Time each backbone."""
    return time_backbones(worker, description="Time steps that are watched and not.")


def worker(rank: int, args: argparse.Namespace, backbone: str, folder: str) -> None:
    """One of the DDP workers; the first one reports."""
    meet(rank, args, folder)
    stepper, sets = make(backbone)
    batch = photos(rank, args, sets)
    stepper.train(batch)
    lines = []
    off, other, on = NoClock(), NoClock(), Clock()
    for name, clock in (("with the clock", on), ("the same without", other)):
        pairs = [pair(stepper, batch, off, clock, number) for number in range(args.steps)]
        ratio = median(second / first for first, second in pairs)
        lines.append(f"{name}: {ratio:.4f} times the step without a clock")
        if clock is on:
            plain = median(first for first, _ in pairs)
    alone = median(timed(lambda: turns(on)) for _ in range(_TURNS))
    lines.append(
        f"what the clock does in a step, alone: {alone * 1e6:.0f} us, {alone / plain:.4%}"
    )
    looked = median(timed(lambda: exchange_share(stepper.module)) for _ in range(20))
    lines.append(f"looking at DDP's times, once a log line: {looked * 1e6:.0f} us")
    lines.append(f"the step: {plain:.3f} s")
    publisher = Publisher("bench", rank, lambda: readings(run_of(stepper, on)))
    took = median(timed(publisher.publish) for _ in range(_PUBLISHED))
    lines.append(f"handing all to Ray: {took * 1e3:.2f} ms, {took / _EVERY_S:.4%} of a core")
    if rank == 0:
        head = f"{backbone}: {args.workers} workers, {args.rows} images each at 224 px"
        Path(folder, "report").write_text("\n  ".join((head, *lines)))
    dist.destroy_process_group()


def turns(clock: Clock) -> None:
    """Ask of it what a RETDM step does."""
    with clock.part("data"):
        pass
    clock.seconds()
    with clock.part("forward"):
        with clock.part("gather"):
            pass
        with clock.part("mining"):
            pass
    with clock.part("backward"):
        pass
    clock.split("backward", "exchange", 0.5)
    with clock.part("optimizer"):
        pass


def pair(
    stepper: Stepper, batch: Batch, one: Clock, other: Clock, number: int
) -> tuple[float, float]:
    """Seconds of a step with each clock; the other one is first where `number` is odd."""
    seconds = {}
    for clock in (other, one) if number % 2 else (one, other):
        stepper.clock = clock
        dist.barrier()
        seconds[clock] = timed(lambda: stepper.train(batch))
    return seconds[one], seconds[other]


def timed(function: Any) -> float:
    """Seconds of a call."""
    begin = time.perf_counter()
    function()
    return time.perf_counter() - begin


def run_of(stepper: Stepper, clock: Clock) -> Any:
    """A run as far as its metrics are concerned."""
    return SimpleNamespace(
        clock=clock,
        bad=(),
        skipped=(),
        session=SimpleNamespace(device=torch.device("cpu")),
        keeper=SimpleNamespace(written=1, last_seconds=1.0),
        progress=SimpleNamespace(step=stepper.step),
        line=dict.fromkeys(("bce", "metric", "way1", "way2", "reconstruction", "total"), 1.0),
        bank=stepper.bank,
        bank_age=3,
    )


if __name__ == "__main__":
    sys.exit(main())
