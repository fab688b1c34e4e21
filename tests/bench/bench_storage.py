"""How fast the loader reads from S3, beside local files, and how soon the first batch is there.

    python tests/bench/bench_storage.py [FOLDER] [--samples N] [--rounds R]

Starts the S3 server of cluster/local on one core, packs N photos of FOLDER there and into a local
folder, and reads both in turns on another core (with one core only: on the same), with one loader
process. Wall time per image over an epoch, from the third batch on. Read are: local files; S3
with an empty node cache, shards arriving while others are decoded; S3 again, out of the node
cache; S3 by ranged requests. Then the time from opening the split to the first batch, each in a
new process that has done its imports, with nothing cached (neither node nor page cache).
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from statistics import median

from machine import one_line
from photos import add_arguments, folders, gather, pack

from retdm.config import DataSettings
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split

sys.path.insert(0, str(Path(__file__).resolve().parents[2] / "cluster/local"))
import s3_server

BATCH = 64
S3 = "s3://bench/set"


def main() -> int:
    """Pack, read, print."""
    parser = argparse.ArgumentParser(description="Time the loader on S3 and on local files.")
    add_arguments(parser)
    parser.add_argument("--samples", type=int, default=1024)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--first-batch", nargs=3, help=argparse.SUPPRESS)
    args = parser.parse_args()
    if args.samples < 3 * BATCH:
        parser.error(f"--samples: at least {3 * BATCH}, since two batches of {BATCH} are left out")
    if args.first_batch:
        url, cache, workers = args.first_batch
        print(json.dumps(_first_batch(_settings(url, Path(cache), int(workers)))))
        return 0
    print(one_line())
    cores = sorted(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        scratch = Path(folder)
        name, photos = next(iter(folders(args.folders, scratch).items()))
        about = gather(photos, scratch / "source", args.samples)
        os.sched_setaffinity(0, {cores[0]})  # where the server stays
        os.environ |= s3_server.start(scratch / "s3", bucket="bench", tied=True)
        try:
            for url in (str(scratch / "set"), S3):
                pack(scratch / "source", url, "shards.bytes=16_777_216")
            os.sched_setaffinity(0, {cores[-1]})
            print(f"{name}: {about}; shards of 16 MiB, one loader process")
            _steady(scratch, args.rounds)
            _first(scratch, args.rounds)
        finally:
            s3_server.stop(scratch / "s3")
    return 0


def _settings(url: str, cache: Path, workers: int, read: str = "shards") -> DataSettings:
    return DataSettings.model_validate(
        {
            "url": url,
            "batch_size": BATCH,
            "image_size": 224,
            "loader_workers": workers,
            "cache_dir": str(cache),
            "read": read,
        }
    )


def _steady(scratch: Path, rounds: int) -> None:
    files, cache = str(scratch / "set"), scratch / "cache"
    ways = {
        "local files": _settings(files, cache, 1),
        "S3, empty node cache": _settings(S3, cache, 1),
        "S3, full node cache": _settings(S3, cache, 1),
        "S3, ranged requests": _settings(S3, cache, 1, "ranges"),
    }
    times: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(rounds):
        shutil.rmtree(cache, ignore_errors=True)
        for name, settings in ways.items():
            times[name].append(_per_image(settings))
    print(f"  {'':24}{'ms/image':>9}{'images/s':>10}{'speed of local files':>22}")
    for name, took in times.items():
        share = median(a / b for a, b in zip(times["local files"], took, strict=True))
        print(f"  {name:24}{1000 * median(took):9.2f}{1 / median(took):10.0f}{share:22.2f}")


def _per_image(settings: DataSettings) -> float:
    """Wall seconds, the first two batches left out."""
    loader = TrainingLoader(
        open_split(settings.url, "train"), settings, seed=0, rank=0, world_size=1
    )
    started, images = 0.0, 0
    for number, batch in enumerate(loader.epoch(0)):
        if number == 1:
            started, images = time.perf_counter(), -len(batch.images)
        images += len(batch.images)
    took = time.perf_counter() - started
    loader.close()
    return took / images


def _first(scratch: Path, rounds: int) -> None:
    print(f"  {'first batch, nothing cached':32}{'opening s':>10}{'batch s':>9}")
    files = str(scratch / "set")
    for name, url, workers in (
        ("local files, in process", files, 0),
        ("S3, in process", S3, 0),
        ("local files, one loader process", files, 1),
        ("S3, one loader process", S3, 1),
    ):
        took = []
        for _ in range(rounds):
            _forget(scratch)
            command = [sys.executable, __file__, "--first-batch", url, str(scratch / "cache")]
            answer = subprocess.run(
                [*command, str(workers)], check=True, capture_output=True, text=True
            )
            took.append(json.loads(answer.stdout))
        opening, batch = (median(one[at] for one in took) for at in (0, 1))
        print(f"  {name:32}{opening:10.2f}{batch:9.2f}", flush=True)


def _forget(scratch: Path) -> None:
    """Empty the node cache; have the kernel drop the local set from the page cache."""
    shutil.rmtree(scratch / "cache", ignore_errors=True)
    for path in (scratch / "set").rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            os.fsync(handle)
            os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            os.close(handle)


def _first_batch(settings: DataSettings) -> tuple[float, float]:
    """Seconds to open the split, and from then to the first batch."""
    started = time.perf_counter()
    data = open_split(settings.url, "train")
    opened = time.perf_counter()
    loader = TrainingLoader(data, settings, seed=0, rank=0, world_size=1)
    batches = loader.epoch(0)
    next(batches)
    took = time.perf_counter() - opened
    batches.close()  # type: ignore[attr-defined]
    loader.close()
    return opened - started, took


if __name__ == "__main__":
    sys.exit(main())
