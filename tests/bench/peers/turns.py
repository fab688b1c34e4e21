"""What every program of the loader contest shares: it waits for its turns and says what they took.

The programs run one at a time, in turns, on one core: import this first, it pins the process.
"""

import argparse
import json
import os
import resource
import sys
import time
from collections.abc import Callable, Iterable, Sized
from pathlib import Path

if "BENCH_CORE" in os.environ:
    os.sched_setaffinity(0, {int(os.environ["BENCH_CORE"])})

BATCH = 64


def arguments() -> argparse.Namespace:
    """What the contest asks of a program."""
    parser = argparse.ArgumentParser()
    parser.add_argument("photos", type=Path, help="folder of the JPEGs")
    parser.add_argument("made", type=Path, help="folder for what is made of them")
    parser.add_argument("--size", type=int, required=True, help="side of the crops in pixels")
    parser.add_argument("--workers", type=int, required=True, help="loader processes")
    parser.add_argument("--float", action="store_true", help="batches of float32, 0 to 1")
    parser.add_argument("--way", default="", help="which of the program's ways; free words")
    return parser.parse_args()


def take_turns(epoch: Callable[[], Iterable[Sized]]) -> None:
    """Go through an epoch's batches for each line of the standard input; answer with the cost."""
    print("ready", flush=True)
    for _ in sys.stdin:
        cpu, wall = _cpu_s(os.getpid()), time.perf_counter()
        images = sum(len(batch) for batch in epoch())
        wall, cpu = time.perf_counter() - wall, _cpu_s(os.getpid()) - cpu
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
        took = {"images": images, "cpu_s": cpu, "wall_s": wall, "peak_mib": peak}
        print(json.dumps(took), flush=True)


def _cpu_s(process: int) -> float:
    """CPU seconds of a process and of its living descendants (Linux)."""
    folder = Path(f"/proc/{process}")
    total = 0.0
    for task in folder.glob("task/*"):
        total += int((task / "schedstat").read_text().split()[0]) / 1e9
        total += sum(_cpu_s(int(child)) for child in (task / "children").read_text().split())
    return total
