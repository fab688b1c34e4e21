"""How fast the loader yields training images, beside other loaders and the bare decoder.

    python tests/bench/bench_loader.py [FOLDER ...] [--rounds R] [--json FILE] [--no-peers]

Takes photos of each FOLDER, lets every loader write them in its own format (untimed), and times
passes over them in turns, on one core: decode, crop to `--size`, batches of 64, shuffled, from
local files in the page cache. First in one process, then with one loader process on the same
core. The limit is the decoding and resizing that retdm does, of bytes in memory, in one loop.
"""

import argparse
import json
import os
import sys
import tempfile
from pathlib import Path
from statistics import median

from contest import Contestant, compete, ratio, wall_ratio
from machine import machine, one_line
from peers.environment import peers_python
from photos import add_arguments, folders, gather, pack

_OURS, _LIMIT = "retdm", "bare limit"


def main() -> int:
    """Gather, pack, time, print."""
    parser = argparse.ArgumentParser(description="Time the loader beside others.")
    add_arguments(parser)
    parser.add_argument("--size", type=int, default=224, help="side of the crops in pixels")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--samples", type=int, default=384, help="images in a pass")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--no-peers", action="store_true", help="nothing that must be installed")
    args = parser.parse_args()
    python = None if args.no_peers else peers_python()
    print(one_line())
    core = max(os.sched_getaffinity(0))
    results = []
    with tempfile.TemporaryDirectory() as scratch:
        for name, photos in folders(args.folders, Path(scratch)).items():
            made = Path(scratch, "made", name)
            about = gather(photos, made, args.samples)
            pack(made, str(made / "shards"))
            for workers, pixels in ((0, "uint8"), (0, "float32"), (1, "uint8")):
                field = _field(args.size, workers, pixels, python)
                compete(field, made / "photos", made, rounds=args.rounds, core=core)
                results.append(_report(name, about, workers, pixels, field))
    if args.json:
        args.json.write_text(json.dumps({"machine": machine(), "results": results}, indent=1))
    return 0


def _field(size: int, workers: int, pixels: str, python: str | None) -> list[Contestant]:
    """Who competes: everybody in one process and with uint8, fewer for the rest."""
    base = ["--size", str(size), "--workers", str(workers)]
    base += ["--float"] if pixels == "float32" else []
    full = workers == 0 and pixels == "uint8"
    field = [
        Contestant(_OURS, "ours.py", base),
        Contestant("WebDataset", "stock_webdataset.py", base),
    ]
    if full:
        field.append(Contestant(_LIMIT, "limit.py", base))
        resize = [*base, "--way", "resize"]
        field.append(Contestant("WebDataset, Resize", "stock_webdataset.py", resize))
    if python is not None:
        field.append(Contestant("MosaicML streaming", "mosaic_streaming.py", base, python))
        field.append(Contestant("litdata", "lit.py", base, python))
        if full:
            field.append(Contestant("litdata, PIL", "lit.py", [*base, "--way", "pil"], python))
    return field


def _report(
    name: str, about: str, workers: int, pixels: str, field: list[Contestant]
) -> dict[str, object]:
    where = "one loader process" if workers else "in process"
    print(f"\n{name}: {about}; {pixels}, {where}")
    columns = f"{'CPU ms':>8}{'wall ms':>9}{'images/s':>10}{'CPU':>7}{'wall':>7} of retdm's"
    print(f"  {'':22}{columns}{'peak MiB':>10}")
    ours = field[0]
    rows = []
    for one in field:
        cpu, wall = median(one.cpu_ms), median(one.wall_ms)
        by_cpu, by_wall = ratio(one, ours), wall_ratio(one, ours)
        print(
            f"  {one.name:22}{cpu:8.2f}{wall:9.2f}{1000 / cpu:10.0f}{by_cpu:7.2f}{by_wall:7.2f}"
            f"{one.peak_mib:21.0f}",
            flush=True,
        )
        rows.append(
            {"name": one.name, "cpu_ms": cpu, "wall_ms": wall, "peak_mib": one.peak_mib}
            | {"cpu": by_cpu, "wall": by_wall}
        )
    return {"photos": name, "about": about, "workers": workers, "pixels": pixels, "rows": rows}


if __name__ == "__main__":
    sys.exit(main())
