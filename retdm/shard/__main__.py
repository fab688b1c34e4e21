"""`python -m retdm.shard`: build, verify and count shard sets."""

import argparse
import json
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TypeAlias

from retdm.console import count, counted, run
from retdm.shard import adopt, fetch
from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.shard.stats import render, stats, summary
from retdm.shard.verify import verify

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_EXAMPLES = """examples:
  python -m retdm.shard build shards/coco2014.toml --source ~/coco --out s3://photos/coco2014
  python -m retdm.shard build shards/scene.toml --source ./scene --out ./shards --set split.seed=1
  python -m retdm.shard verify s3://photos/coco2014
  python -m retdm.shard stats ./shards --json

S3 is set up by the usual variables: AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY.
Exit status: 0 done or sound; 1 verify found faults; 2 no set, or something is wrong."""

_BUILD_EXAMPLES = """examples:
  build shards/scene.toml --source ./scene --out ./shards                    on all cores
  build shards/coco2014.toml --source ~/coco --out s3://photos/coco-256 --set resize.short_side=256
  build shards/coco2014.toml --source /nfs/coco --out s3://photos/coco --ray head:6379
  build shards/scene.toml --source ./scene --out ./shards --set check=decode  decode every pixel

The bytes are the same, whoever packs. A build that was interrupted (Ctrl-C, a kill, a lost
machine) goes on from its finished tars when the same command is run again."""


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m retdm.shard",
        description="Pack photos and labels into WebDataset shards, check them, count them.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for add in (fetch.add_parser, _add_build, adopt.add_parser, _add_verify, _add_stats):
        add(commands)
    return parser


def main(arguments: Sequence[str] | None = None) -> int:
    """Run one command (`sys.argv` unless given); returns the exit status."""
    given = _parser().parse_args(arguments)
    status: int = given.run(given)
    return status


def _add_build(commands: Commands) -> None:
    make = commands.add_parser(
        "build",
        help="pack a data set",
        epilog=_BUILD_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
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
        help="replace a finished shard set, which is removed before the new one is packed, or "
        "what an interrupted build of something else left",
    )
    _add_workers(make, "pack")
    make.add_argument(
        "--ray",
        nargs="?",
        const="auto",
        metavar="ADDRESS",
        help="pack on a Ray cluster (default: RAY_ADDRESS, or the one that runs on this machine); "
        "all its machines must see --source and --out",
    )
    make.set_defaults(run=_build)


def _add_workers(command: argparse.ArgumentParser, verb: str) -> None:
    command.add_argument(
        "--workers",
        type=count,
        metavar="N",
        help=f"processes that {verb} (default: one for each core; fewer for little data)",
    )


def _add_verify(commands: Commands) -> None:
    check = commands.add_parser("verify", help="read everything back and list every fault")
    check.add_argument("url", metavar="URL", help="folder or s3:// URL of a shard set")
    _add_workers(check, "read")
    check.set_defaults(run=_verify)


def _add_stats(commands: Commands) -> None:
    count = commands.add_parser("stats", help="photos, labels and bytes by split")
    count.add_argument("url", metavar="URL", help="folder or s3:// URL of a shard set")
    count.add_argument("--json", action="store_true", help="print JSON")
    count.set_defaults(run=_stats)


def _build(given: argparse.Namespace) -> int:
    started = time.monotonic()
    spec, options = load_spec(given.spec, given.set)
    manifest = build(
        spec,
        options,
        source=given.source,
        out=given.out,
        overwrite=given.overwrite,
        workers=given.workers,
        ray=given.ray,
    )
    took_s = time.monotonic() - started
    print(summary(manifest, url=given.out, tars="shard", took_s=took_s))
    return 0


def _verify(given: argparse.Namespace) -> int:
    faults = verify(given.url, workers=given.workers)
    for fault in faults:
        print(fault)
    print(f"{given.url}: {counted(len(faults), 'fault') if faults else 'sound'}")
    return 1 if faults else 0


def _stats(given: argparse.Namespace) -> int:
    values = stats(given.url)
    print(json.dumps(values) if given.json else render(values))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
