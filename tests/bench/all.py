"""Every benchmark, one after the other: `python tests/bench/all.py [--quick]`.

With --quick each does the least that shows that it works; its figures are good for nothing else.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

from machine import one_line

_FOLDER = Path(__file__).resolve().parent
_QUICK = {
    "bench_builder": ["--mib", "20", "--rounds", "1"],
    "bench_checkpoint": ["--rows", "2", "--every", "2", "--rounds", "1"],
    "bench_decoders": ["--photos", "4", "--rounds", "1"],
    "bench_finite": ["--backbones", "timm:tf_efficientnet_lite0", "--rows", "2", "--steps", "2"],
    "bench_loader": ["--samples", "64", "--rounds", "1"],
    "bench_memory": ["--epochs", "2"],
    "bench_metrics": ["--images", "500", "--labels", "20", "--repeats", "1"],
    "bench_mining": ["--batch", "32", "--rounds", "1", "--growth", "1000x80"],
    "bench_plan": ["--samples", "20000", "--shards", "20", "--rounds", "1"],
    "bench_predict": ["--nets", "timm:test_resnet@32", "--images", "32", "--rounds", "1"],
    "bench_predict_ray": [
        *("--nets", "timm:test_resnet@32", "--images", "320", "--part-size", "32", "--rounds", "1")
    ],
    "bench_resize": ["--samples", "64", "--rounds", "1"],
    "bench_search": ["--trials", "1"],
    "bench_serve": ["--nets", "timm:test_resnet@32", "--clients", "2", "--seconds", "1"],
    "bench_step": ["--backbones", "timm:tf_efficientnet_lite0", "--rows", "2", "--steps", "1"],
    "bench_storage": ["--samples", "256", "--rounds", "1"],
    "bench_watch": ["--backbones", "timm:tf_efficientnet_lite0", "--rows", "2", "--steps", "2"],
}


def main() -> int:
    """Run them all, also after a failure; say which failed."""
    parser = argparse.ArgumentParser(description="Run every benchmark.")
    parser.add_argument("--quick", action="store_true", help="see that they work, in minutes")
    args = parser.parse_args()
    print(one_line(), flush=True)
    if args.quick:
        print("--quick: these figures are not to be compared with any", flush=True)
    failed = []
    for program in sorted(_FOLDER.glob("bench_*.py")):
        print(f"== {program.name}", flush=True)
        begun = time.monotonic()
        least = _QUICK.get(program.stem, []) if args.quick else []
        if subprocess.run([sys.executable, str(program), *least]).returncode:
            failed.append(program.name)
        print(f"   ({time.monotonic() - begun:.0f} s)", flush=True)
    if failed:
        print(f"failed: {', '.join(failed)}; their errors are above", file=sys.stderr)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main())
