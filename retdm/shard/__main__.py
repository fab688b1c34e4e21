"""`python -m retdm.shard`: build, verify and count shard sets."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from retdm.console import run
from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.shard.stats import render, stats
from retdm.shard.verify import verify

_EXAMPLES = """examples:
  python -m retdm.shard build shards/coco2014.toml --source ~/coco --out s3://photos/coco2014
  python -m retdm.shard build shards/scene.toml --source ./scene --out ./shards --set split.seed=1
  python -m retdm.shard verify s3://photos/coco2014
  python -m retdm.shard stats ./shards --json

S3 is set up by the usual variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
Exit status: 0 done or sound; 1 verify found faults; 2 something is missing or wrong."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.shard",
        description="Pack photos and labels into WebDataset shards, check them, count them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    make = commands.add_parser("build", help="pack a data set")
    make.add_argument("spec", metavar="SPEC.toml", help="what to read and how, see shards/")
    make.add_argument("--source", type=Path, required=True, help="folder of the data set")
    make.add_argument("--out", required=True, metavar="URL", help="empty folder or s3:// prefix")
    make.add_argument(
        "--set",
        action="append",
        default=[],
        metavar="a.b=c",
        help="override a setting of the spec",
    )
    make.add_argument(
        "--overwrite",
        action="store_true",
        help="replace a finished shard set; it is removed before the new one is packed",
    )
    check = commands.add_parser("verify", help="read everything back and list every fault")
    check.add_argument("url", metavar="URL", help="folder or s3:// URL of a shard set")
    count = commands.add_parser("stats", help="photos, labels and bytes by split")
    count.add_argument("url", metavar="URL", help="folder or s3:// URL of a shard set")
    count.add_argument("--json", action="store_true", help="print JSON")
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless given); returns the exit status."""
    given = _parser().parse_args(arguments)
    if given.command == "build":
        return _build(given)
    if given.command == "verify":
        return _verify(given.url)
    values = stats(given.url)
    print(json.dumps(values) if given.json else render(values))
    return 0


def _build(given: argparse.Namespace) -> int:
    started = time.monotonic()
    spec, options = load_spec(given.spec, given.set)
    manifest = build(spec, options, source=given.source, out=given.out, overwrite=given.overwrite)
    took = time.monotonic() - started
    for name, split in manifest.splits.items():
        size = sum(shard.bytes for shard in split.shards) / 2**20
        shards = f"{len(split.shards)} shard{'s' * (len(split.shards) > 1)}"
        print(f"{name}: {split.samples} photos in {shards}, {size:.1f} MiB")
    print(f"{given.out}: {manifest.name}, {len(manifest.labels)} labels, {took:.1f} s")
    print(f"digest {manifest.digest}")
    return 0


def _verify(url: str) -> int:
    faults = verify(url)
    for fault in faults:
        print(fault)
    print(f"{url}: {len(faults)} wrong" if faults else f"{url}: sound")
    return 1 if faults else 0


if __name__ == "__main__":
    sys.exit(run(main))
