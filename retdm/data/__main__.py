"""Shows which samples a training run reads, batch by batch: `python -m retdm.data trace`."""

import argparse
import json
import sys
from hashlib import sha256

from retdm.config import DataSettings
from retdm.console import run
from retdm.data.order import epoch_order, resolve_window
from retdm.data.plan import Cut, num_batches, part_of
from retdm.data.source import SampleReader
from retdm.data.split import open_split
from retdm.errors import ConfigError

_EXAMPLES = """\
examples:
  python -m retdm.data trace s3://photos/scene --batch-size 64 --world-size 8 --batches 2
  python -m retdm.data trace /data/scene --seed 1 --epoch 3 --start-batch 10 --digest
"""


def main(arguments: list[str] | None = None) -> int:
    """Print one JSON line for each batch and rank: {"batch", "rank", "keys"}."""
    parser = argparse.ArgumentParser(prog="python -m retdm.data", description=__doc__)
    commands = parser.add_subparsers(dest="command", required=True)
    trace = commands.add_parser(
        "trace",
        help="list the keys of each batch, as every run with these settings reads them",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    defaults = DataSettings()
    trace.add_argument("url", help="shard set: a folder or s3://bucket/prefix")
    trace.add_argument("--split", default=defaults.train_split, help="default: %(default)s")
    trace.add_argument("--seed", type=_whole(0), default=0, help="default: %(default)s")
    trace.add_argument("--epoch", type=_whole(0), default=0, help="default: %(default)s")
    trace.add_argument(
        "--batch-size",
        type=_whole(1),
        default=defaults.batch_size,
        help="images in a global batch; default: %(default)s",
    )
    trace.add_argument("--world-size", type=_whole(1), default=1, help="ranks; default: 1")
    trace.add_argument("--start-batch", type=_whole(0), default=0, help="default: %(default)s")
    trace.add_argument("--batches", type=_whole(0), help="how many; default: all to the end")
    trace.add_argument(
        "--shuffle-window",
        type=_whole(0),
        default=defaults.shuffle_window,
        help="data.shuffle_window of the run, 0 is automatic; default: %(default)s",
    )
    trace.add_argument(
        "--digest",
        action="store_true",
        help='also read the images, and add "sha256" of their stored bytes',
    )
    return _trace(parser.parse_args(arguments))


def _whole(least: int) -> "type[int]":
    class Whole(int):
        """Named in argparse's message."""

        def __new__(cls, text: str) -> "Whole":
            number = int.__new__(cls, text)
            if number < least:
                raise argparse.ArgumentTypeError(f"{text} is less than {least}")
            return number

    Whole.__name__ = "whole number"
    return Whole


def _trace(asked: argparse.Namespace) -> int:
    data = open_split(asked.url, asked.split)
    window = resolve_window(asked.shuffle_window, data.shard_sizes)
    order = epoch_order(
        data.shard_sizes,
        digest=data.digest,
        split=asked.split,
        seed=asked.seed,
        epoch=asked.epoch,
        window=window,
    )
    stop = num_batches(len(order), asked.batch_size)
    # Right at the end is where an epoch that is done would be resumed.
    if asked.start_batch > stop:
        raise ConfigError(
            f"--start-batch is {asked.start_batch}, but an epoch of split {asked.split!r} has "
            f"{stop} batches of {asked.batch_size}; begin earlier"
        )
    if asked.batches is not None:
        stop = min(stop, asked.start_batch + asked.batches)
    # What the loader processes read with, so a digest shows what a run would get.
    settings = DataSettings(url=asked.url)
    reader = SampleReader(data, settings, window=window) if asked.digest else None
    for batch in range(asked.start_batch, stop):
        for rank in range(asked.world_size):
            cut = Cut(batch_size=asked.batch_size, part=rank, parts=asked.world_size, min_rows=0)
            part = part_of(order, batch, cut)
            rows = part.rows[part.valid].tolist()
            line = {"batch": batch, "rank": rank, "keys": [data.table.keys[row] for row in rows]}
            if reader is not None:
                line["sha256"] = [sha256(c).hexdigest() for c in reader.read_many(rows)]
            print(json.dumps(line))
    return 0


if __name__ == "__main__":
    sys.exit(run(main))
