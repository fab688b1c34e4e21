"""How fast the builder packs, beside `tar | sha256sum` of the same photos.

    python tests/bench/bench_builder.py [FOLDER ...] [--mib M] [--rounds R]

Copies the photos of each FOLDER (default: those of coco128, coco3k and scene below
RETDM_TEST_DATA; rendered scenes where that is not set) under new names until there are M MiB, and
times in turn, each pinned to the same one core and with all files in the page cache:

- `tar cf - PHOTOS | sha256sum`
- `python -m retdm.shard build --workers 1`, the whole command, less the time in which Python only
  imports (given apart): photos read and checked, each hashed, tars hashed, indexed and written.

Prints CPU and wall seconds, the best of R rounds, and the ratio by CPU seconds, with which other
work on the machine interferes less. The shards go to a temporary folder (TMPDIR) and are synced to
its disk, which costs the build wall time and no CPU.
"""

import argparse
import math
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from retdm.datasets.synthetic.generate import IMAGES, generate

_SPEC = """
name = "bench"
reader = "table"
[shards]
bytes = 67_108_864
"""


def main() -> int:
    """Copy, time, print."""
    parser = argparse.ArgumentParser(description="Time the builder beside tar | sha256sum.")
    parser.add_argument("folders", nargs="*", type=Path, metavar="FOLDER", help="of JPEGs")
    parser.add_argument("--mib", type=int, default=300, help="photos to pack")
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    core = min(os.sched_getaffinity(0))
    with tempfile.TemporaryDirectory() as folder:
        for photos in args.folders or _default(Path(folder)):
            source = _many(photos, Path(folder, "source"), args.mib << 20)
            _compare(photos, source, Path(folder, "out"), core, args.rounds)
            shutil.rmtree(source)
    return 0


def _default(folder: Path) -> list[Path]:
    root = os.environ.get("RETDM_TEST_DATA")
    if root:
        found = [Path(root, name, "images") for name in ("coco128", "coco3k", "scene")]
        return [path for path in found if path.is_dir()]
    generate(folder / "rendered", images=40, seed=0, size=640)
    return [folder / "rendered" / IMAGES]


def _many(photos: Path, to: Path, size: int) -> Path:
    """A source folder with copies of the photos until there are so many bytes."""
    (to / "images").mkdir(parents=True)
    contents = [path.read_bytes() for path in sorted(photos.iterdir()) if path.is_file()]
    rows = ["path,label"]
    written = 0
    while written < size:
        content = contents[(len(rows) - 1) % len(contents)]
        name = f"{len(rows) - 1:08d}.jpg"
        (to / "images" / name).write_bytes(content)
        rows.append(f"{name},1")
        written += len(content)
    (to / "labels.csv").write_text("\n".join(rows))
    (to / "spec.toml").write_text(_SPEC)
    return to


def _compare(photos: Path, source: Path, out: Path, core: int, rounds: int) -> None:
    files = list((source / "images").iterdir())
    size = sum(path.stat().st_size for path in files)
    pin = f"taskset -c {core}"
    tar = f"{pin} sh -c 'tar cf - -C {source} images | sha256sum' > {os.devnull}"
    python = f"{pin} {sys.executable} -m retdm.shard"
    build = f"{python} build {source}/spec.toml --source {source} --out {out} --workers 1"
    commands = {"tar | sha256sum": tar, "start of Python": f"{python} --help", "build": build}
    best: dict[str, tuple[float, float]] = {}
    for _ in range(rounds):
        for name, command in commands.items():
            best[name] = min(best.get(name, (math.inf, 0)), _seconds(command))
        shutil.rmtree(out)
    print(
        f"{photos}: {len(files)} photos of {size / len(files) / 1000:.0f} kB, "
        f"{size / 1e6:.0f} MB, one core, best of {rounds}"
    )
    for name, (cpu, wall) in best.items():
        print(f"  {name:16}{cpu:7.2f} s CPU {wall:7.2f} s wall{size / cpu / 1e6:8.0f} MB/s of CPU")
    start, whole = best["start of Python"][0], best["build"][0]
    ratio = best["tar | sha256sum"][0] / (whole - start)
    print(f"  build without the start: {ratio:.2f} times the speed of tar | sha256sum")


def _seconds(command: str) -> tuple[float, float]:
    """CPU and wall seconds of a shell command with all its processes."""
    before, started = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    subprocess.run(command, shell=True, check=True, capture_output=True)
    wall, after = time.perf_counter() - started, resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, wall


if __name__ == "__main__":
    sys.exit(main())
