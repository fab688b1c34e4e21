"""`python -m retdm.datasets.synthetic`: render a practice data set in COCO format."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path

from retdm.config import parse
from retdm.console import run
from retdm.datasets.synthetic.generate import generate
from retdm.datasets.synthetic.reader import SyntheticOptions


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line (`sys.argv` unless given) and render."""
    parser = argparse.ArgumentParser(
        prog="python -m retdm.datasets.synthetic",
        description="Render scenes with correlated labels as JPEGs and COCO instances files.",
        epilog="example: python -m retdm.datasets.synthetic --out /tmp/scenes --images 1500",
    )
    parser.add_argument("--out", type=Path, required=True, help="folder to write into")
    parser.add_argument("--images", type=int, default=1500, help="number of scenes (1500)")
    parser.add_argument("--seed", type=int, default=0, help="another seed, other scenes (0)")
    parser.add_argument("--size", type=int, default=160, help="longer side in pixels (160)")
    given = parser.parse_args(arguments)
    table = {"images": given.images, "seed": given.seed, "size": given.size}
    options = parse(SyntheticOptions, table, source="command line")
    made = generate(given.out, images=options.images, seed=options.seed, size=options.size)
    print(f"{given.out}: {options.images} scenes" + ("" if made else ", already there"))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
