"""Which library decodes and resizes photos fastest, and how true: why retdm uses what it uses.

    python tests/bench/bench_decoders.py [FOLDER ...] [--photos N] [--rounds R]

Runs in the environment of peers/requirements.txt. Each way makes the paper's corner crops of the
same photos, on one core, in turns. Truth is a full decoding and a triangle filter in float64 over
the exact crop; given is the mean and the least PSNR.
"""

import argparse
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from machine import one_line
from peers.environment import peers_python
from photos import add_arguments, folders, gather

_PROGRAM = Path(__file__).resolve().parent / "peers/decoders.py"


def main() -> int:
    """Gather photos, and let the program in the other environment do the rest."""
    parser = argparse.ArgumentParser(description="Time JPEG decoders and resizers.")
    add_arguments(parser)
    parser.add_argument("--photos", type=int, default=60)
    parser.add_argument("--rounds", type=int, default=3)
    args = parser.parse_args()
    python = peers_python()
    print(one_line())
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    with tempfile.TemporaryDirectory() as scratch:
        for name, photos in folders(args.folders, Path(scratch)).items():
            about = gather(photos, Path(scratch, name), args.photos)
            print(f"\n{name}: {about}", flush=True)
            command = [python, str(_PROGRAM), str(Path(scratch, name, "photos"))]
            subprocess.run([*command, str(args.rounds)], check=True)
    return 0


if __name__ == "__main__":
    sys.exit(main())
