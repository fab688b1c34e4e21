"""What shards of reduced photos bring, and what they cost.

    python tests/bench/bench_resize.py [FOLDER ...] [--short-side 256] [--rounds R]
    python tests/bench/bench_resize.py --train SCENE_FOLDER [--short-side 256 160] [--epochs E]

The first times the loader, as bench_loader.py does, on shards of the photos as they are and of
photos reduced to a short side. The second trains the recipe jobs/recipes/scene.toml by BCE for
some epochs on each (same seed, order and crops: the order, which follows from the manifest's
digest, is made the same for all), and prints the test mAP; it takes a minute or more an epoch.
"""

import argparse
import os
import sys
import tempfile
import time
from pathlib import Path
from typing import Any
from unittest.mock import patch

from contest import Contestant, compete, ratio
from machine import one_line
from photos import add_arguments, folders, gather, pack

from retdm.config import load_config
from retdm.data import loader
from retdm.data.order import Order, epoch_order
from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession

_ROOT = Path(__file__).resolve().parents[2]


def main() -> int:
    """Pack, then time or train."""
    parser = argparse.ArgumentParser(description="Compare shards of photos as they are, reduced.")
    add_arguments(parser)
    parser.add_argument("--short-side", type=int, nargs="+", default=[256], metavar="PIXELS")
    parser.add_argument("--samples", type=int, default=384, help="images in a pass")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--train", type=Path, metavar="FOLDER", help="of the scene set: train too")
    parser.add_argument("--epochs", type=int, default=4)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args()
    print(one_line())
    with tempfile.TemporaryDirectory() as folder:
        if args.train:
            _train(args.train, Path(folder), [0, *args.short_side], args)
        else:
            for name, photos in folders(args.folders, Path(folder)).items():
                _time(name, photos, Path(folder, "made", name), args)
    return 0


def _time(name: str, photos: Path, made: Path, args: argparse.Namespace) -> None:
    print(f"\n{name}: {gather(photos, made, args.samples)}; to 224 px, uint8, in process")
    field = []
    for side in (0, *args.short_side):
        pack(made, str(made / f"shards-{side}"), f"resize.short_side={side}")
        base = ["--size", "224", "--workers", "0", "--way", f"shards-{side}"]
        field.append(Contestant(_name(side), "ours.py", base))
    core = max(os.sched_getaffinity(0))
    compete(field, made / "photos", made, rounds=args.rounds, core=core)
    print(f"  {'shards':28}{'CPU ms':>8}{'times as fast':>15}{'MB':>8}")
    for side, one in zip((0, *args.short_side), field, strict=True):
        size = sum(path.stat().st_size for path in (made / f"shards-{side}").rglob("*.tar"))
        cpu, gain = sorted(one.cpu_ms)[len(one.cpu_ms) // 2], ratio(field[0], one)
        print(f"  {one.name:28}{cpu:8.2f}{gain:15.2f}{size / 1e6:8.1f}", flush=True)


def _name(side: int) -> str:
    return f"short side {side} px" if side else "photos as they are"


def _train(source: Path, scratch: Path, sides: list[int], args: argparse.Namespace) -> None:
    print(f"\n{source}: bce, {args.epochs} epochs, seed {args.seed}")
    print(f"  {'shards':28}{'test mAP':>9}{'minutes':>9}")
    for side in sides:
        url = str(scratch / f"set-{side}")
        spec, options = load_spec(_ROOT / "shards/scene.toml", [f"resize.short_side={side}"])
        build(spec, options, source=source, out=url)
        overrides = [f"data.url={url}", "method=bce", "stages.1.epochs=0", "stages.2.epochs=0"]
        overrides += [f"stages.3.epochs={args.epochs}", f"seed={args.seed}"]
        config = load_config(_ROOT / "jobs/recipes/scene.toml", overrides)
        started = time.perf_counter()
        run = scratch / f"run-{side}"
        with patch.object(loader, "epoch_order", _same_order):
            result = conclude(train(config, LocalSession(), open_store(str(run))))
        minutes = (time.perf_counter() - started) / 60
        print(
            f"  {_name(side):28}{result['metrics']['test']['mAP']:9.4f}{minutes:9.1f}", flush=True
        )


def _same_order(*sizes: Any, **key: Any) -> Order:
    return epoch_order(*sizes, **{**key, "digest": "any"})


if __name__ == "__main__":
    sys.exit(main())
