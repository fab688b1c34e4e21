"""How fast the builder packs, beside `tar | sha256sum` of the same photos.

    python tests/bench/bench_builder.py [FOLDER ...] [--mib M] [--rounds R]

Copies the photos of each FOLDER (default: those of coco128, coco3k and scene below
RETDM_TEST_DATA; rendered scenes where that is not set) under new names until there are M MiB, and
times in turn, each pinned to the same one core and with all files in the page cache:

- `tar cf - PHOTOS | sha256sum`
- `python -m retdm.shard build --workers 1`, the whole command, less the time in which Python only
  imports (given apart): photos read and checked, each hashed, tars hashed, indexed and written.

Prints MB of photos a second, the best of R rounds, and the ratio. The shards are written to a
temporary folder (TMPDIR), which a build also syncs to the disk; /dev/shm shows it without a disk.
"""

import argparse
import os
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
    parser.add_argument("--mib", type=int, default=600, help="photos to pack")
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
    generate(folder / "rendered", images=200, seed=0, size=640)
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
    times: dict[str, list[float]] = {"tar": [], "start": [], "build": []}
    for _ in range(rounds):
        times["tar"].append(_seconds(tar))
        times["start"].append(_seconds(f"{python} --help"))
        times["build"].append(_seconds(build))
        shutil.rmtree(out)
    best = {name: min(seconds) for name, seconds in times.items()}
    packing = best["build"] - best["start"]
    print(
        f"{photos}: {len(files)} photos of {size / len(files) / 1000:.0f} kB, "
        f"{size / 1e6:.0f} MB, one core, best of {rounds}"
    )
    print(f"  tar | sha256sum  {best['tar']:6.2f} s {size / best['tar'] / 1e6:6.0f} MB/s")
    print(
        f"  retdm.shard build{packing:6.2f} s {size / packing / 1e6:6.0f} MB/s"
        f"  (and {best['start']:.2f} s to start)"
    )
    print(
        f"  ratio {best['tar'] / packing:.2f} (with the start {best['tar'] / best['build']:.2f})"
    )


def _seconds(command: str) -> float:
    started = time.perf_counter()
    subprocess.run(
        command, shell=True, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
    )
    return time.perf_counter() - started


if __name__ == "__main__":
    sys.exit(main())
