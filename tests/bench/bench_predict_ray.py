"""How fast `python -m retdm.predict --ray` is beside what decoding and the network alone allow.

    python tests/bench/bench_predict_ray.py [FOLDER ...] [--nets BACKBONE@SIZE ...] [--images N]

On this machine's cores, with a Ray of its own: times, in turns, decoding alone and the network
alone, as `bench_predict.py` does, and scoring by actors that write Parquet, first one with all the
cores, then one for each core. The steady state lasts from when each actor has finished a part to
when one has no other to begin; what comes before is the start, told by itself. On a machine that
others use too, look at the share by CPU time: that of both alone over that of the actors.
"""

import argparse
import logging
import os
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from statistics import median

import numpy as np
import torch
from bench_predict import add_nets, limit_ways, make_model
from machine import one_line
from photos import add_arguments, folders, gather

from retdm import __version__
from retdm.claims import hold
from retdm.export.bundle import write_bundle
from retdm.export.measured import Measured
from retdm.onray.actors import Share, machines, run_actors, share_out
from retdm.onray.joining import joined
from retdm.predict.batch import make_scorer
from retdm.predict.cut import cut_files
from retdm.predict.images import ImageFile, find_images
from retdm.predict.parts import WORK, Plan
from retdm.predict.scorer import Scoring, Step, Task
from retdm.predictor import Predictor, load
from retdm.storage import open_store

_AS_PROGRAM = {"OMP_WAIT_POLICY": "PASSIVE"}
_BATCH = 32


def main() -> int:
    """Gather photos, time, print."""
    parser = argparse.ArgumentParser(description="Time predicting on Ray beside its limits.")
    add_arguments(parser)
    add_nets(parser)
    parser.add_argument("--images", type=int, default=4096)
    parser.add_argument("--part-size", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    print(f"{one_line()}; torch with {torch.get_num_threads()} threads")
    with tempfile.TemporaryDirectory() as scratch, joined(logging_level=logging.WARNING):
        for name, photos in folders(args.folders, Path(scratch)).items():
            made = Path(scratch, "made", name)
            print(f"\n{name}: {gather(photos, made, args.images)}")
            files = find_images([str(made / "photos")])
            for net in args.nets:
                bundle = str(Path(scratch, "bundle", name, net.replace(":", "-")))
                write_bundle(open_store(bundle), make_model(net), Measured({}, "bench", {}))
                _compare(bundle, files, Path(scratch, "out"), args)
    return 0


def _compare(
    bundle: str,
    files: list[ImageFile],
    out: Path,
    args: argparse.Namespace,
) -> None:
    model = load(bundle)
    few = files[: max(_BATCH, len(files) // 8)]
    limits = limit_ways(model, few)
    pools = (1, model.threads)
    spent: dict[str, list[float]] = {name: [] for name in limits}
    shares, by_cpu, rates, starts = ({actors: [] for actors in pools} for _ in range(4))
    least = sum if model.device.type == "cpu" else max
    for way in limits.values():
        way()
    for number in range(args.rounds):
        for actors in pools:
            alone = [_timed(way) for way in limits.values()]
            place = str(out / f"{Path(bundle).name}-{number}-{actors}")
            start, rate, cpu = _predict(model, bundle, files, place, actors, args.part_size)
            # Before and behind it, as others come and go.
            again = [_timed(way) for way in limits.values()]
            both = (np.array(alone) + np.array(again)) / 2 / len(few)
            for name, (wall, _) in zip(limits, both.tolist(), strict=True):
                spent[name].append(wall)
            shares[actors].append(rate * least(both[:, 0]))
            by_cpu[actors].append(both[:, 1].sum() / cpu)
            rates[actors].append(rate)
            starts[actors].append(start)
    name = f"{model.config.model.backbone} at {model.decoder.size}"
    alone = ", ".join(f"{way} {1 / median(times):.1f}/s" for way, times in spent.items())
    print(f"  {name}: {alone} alone ({model.threads} cores, {model.device.type})")
    for actors in pools:
        each = " ".join(f"{share:.2f}" for share in by_cpu[actors])
        print(
            f"    {actors} actors: {median(rates[actors]):7.1f}/s: {median(shares[actors]):.2f} "
            f"of the limit, by CPU time {median(by_cpu[actors]):.2f} ({each}); "
            f"start {median(starts[actors]):.1f} s",
            flush=True,
        )


def _timed(way: Callable[[], None]) -> tuple[float, float]:
    """Wall and CPU seconds."""
    begun, spent = time.perf_counter(), time.process_time()
    way()
    return time.perf_counter() - begun, time.process_time() - spent


def _make_timed(
    scoring: Scoring, share: Share
) -> Callable[[Task], Iterator[tuple[Step, int, float]]]:
    """A scorer whose steps come with the CPU seconds of its process."""
    score = make_scorer(scoring, share)

    def work(task: Task) -> Iterator[tuple[Step, int, float]]:
        for step in score(task):
            yield step, os.getpid(), time.process_time()

    return work


def _predict(
    model: Predictor,
    bundle: str,
    files: list[ImageFile],
    out: str,
    actors: int,
    part_size: int,
) -> tuple[float, float, float]:
    """Seconds until every actor has finished a part; from then on images/s, CPU s an image."""
    parts = cut_files(len(files), part_size=part_size, batch_size=_BATCH)
    plan = Plan(
        kind="parquet",
        model=model.digest,
        checkpoint="",
        images="",
        rows=len(files),
        parts=len(parts),
        part_size=part_size,
        batch_size=_BATCH,
        thresholds=tuple(model.thresholds().tolist()),
        top=None,
        torch=str(torch.__version__),
        retdm=__version__,
    )
    tasks = (Task(part, tuple(files[part.first : part.last])) for part in parts)
    begun, ends = time.perf_counter(), []
    cpus: dict[int, list[tuple[float, int]]] = {}
    with hold(open_store(out), WORK) as held:
        scoring = Scoring(bundle, "best", plan, held, None, skip_bad=False, workers=None)
        share = share_out(machines(), actors)
        make = partial(_make_timed, scoring)
        for step, process, spent in run_actors(make, tasks, share, less="fewer actors"):
            if step.counts is not None:
                size = len(parts[step.part])
                ends.append((time.perf_counter(), size))
                cpus.setdefault(process, []).append((spent, size))
    first, last = actors, len(ends) - actors
    images = sum(size for _, size in ends[first + 1 : last + 1])
    cpu = sum(each[-1][0] - each[0][0] for each in cpus.values())
    done = sum(size for each in cpus.values() for _, size in each[1:])
    rate = images / (ends[last][0] - ends[first][0])
    return ends[first][0] - begun, rate, cpu / done


if __name__ == "__main__":
    if "OMP_WAIT_POLICY" not in os.environ:  # as the program does, before torch is imported
        os.execvpe(sys.executable, [sys.executable, *sys.argv], {**os.environ, **_AS_PROGRAM})
    sys.exit(main())
