"""`python -m retdm.shard adopt`: tars of others become a shard set, as they are."""

import argparse
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, TypeAlias

from retdm.config import parse
from retdm.console import count
from retdm.errors import ConfigError
from retdm.json_input import parse_json
from retdm.shard.adopt_rules import AdoptRules
from retdm.shard.adopt_set import Adopted, FaultyTarsError, adopt
from retdm.shard.adopt_splits import tars_of_splits
from retdm.shard.adopt_tar import first_sample
from retdm.shard.stats import summary
from retdm.storage import open_store
from retdm.storage.place import refuse_file

_SHOWN = 20
Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_EXAMPLES = """labels (--labels):
  cls         a class number in KEY.cls
  json:tags   field "tags" of KEY.json, "a.b" for a nested one: a list of names or of numbers
  txt         (or any extension) names in KEY.txt, separated by commas, semicolons or line ends

examples:
  python -m retdm.shard adopt /data/birds --labels cls
  python -m retdm.shard adopt s3://photos/flickr --labels json:meta.tags --names tags.txt \\
      --split train='part-{000000..000146}.tar' --split val='part-00015?.tar'
  python -m retdm.shard adopt ./scans --labels json:y --form multi-hot --names classes.txt \\
      --image 'rgb.png;jpg' --skip-faulty

Training wants three splits, train, val and test; with two, train with data.test_split=val.

The tars are read and checked, never written. Beside them come offset indexes (.idx), a
SPLIT/labels.parquet for each split, and at last manifest.json, which makes them a shard set.
Nobody knows the digests of these tars yet, so run `verify` afterwards: it reads them once more,
and finds what the network damaged on the way."""


def add_parser(commands: Commands) -> None:
    """Add the command to `python -m retdm.shard`."""
    command = commands.add_parser(
        "adopt",
        help="make a shard set of WebDataset tars that others wrote",
        description="Make a shard set of WebDataset tars that others wrote, as they are.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("url", metavar="URL", help="folder or s3:// URL of the tars")
    command.add_argument("--labels", metavar="RULE", help="where labels are, see below")
    command.add_argument(
        "--form",
        choices=["auto", "names", "ids", "multi-hot"],
        default="auto",
        help="what the labels are; default: what they look like (a row of 0 and 1 is never taken "
        "for multi-hot by itself)",
    )
    command.add_argument(
        "--names",
        type=Path,
        metavar="FILE",
        help="the label space, a name a line; number i of the tars is line i, from 0. "
        "Default: all labels that occur, sorted",
    )
    command.add_argument(
        "--split",
        action="append",
        default=[],
        metavar="NAME=PATTERN",
        help="tars of a split, with *, ?, [] and {000..146}; may be repeated. Default: by train, "
        "val, valid, dev or test in their names, else all are train",
    )
    command.add_argument(
        "--image",
        default="",
        metavar="EXT",
        help="extension of the image where a sample has several; 'png;jpg': the first that it has",
    )
    command.add_argument(
        "--prefix-keys",
        action="store_true",
        help="put the tar's name before each key, where tars count their samples from 0 each",
    )
    command.add_argument(
        "--check",
        choices=["structure", "decode"],
        default="structure",
        help="how images are checked: their structure, or every pixel; default: %(default)s",
    )
    command.add_argument(
        "--skip-faulty",
        action="store_true",
        help="leave samples out that have no image or labels, or a damaged image; they are listed",
    )
    command.add_argument("--name", default="", help="of the data set; default: end of the URL")
    command.add_argument(
        "--overwrite", action="store_true", help="replace a manifest, tables and indexes"
    )
    command.add_argument("--workers", type=count, metavar="N", help="processes; default: cores")
    command.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    started = time.monotonic()
    if not given.labels:
        raise ConfigError(_choice_of_labels(given.url, given.split))
    table = {
        "labels": given.labels,
        "form": given.form,
        "listed": given.names is not None,
        "image": given.image,
        "prefix_keys": given.prefix_keys,
        "check": given.check,
        "skip_faulty": given.skip_faulty,
    }
    rules = parse(AdoptRules, table, source="adopt")
    if given.labels.lower() == "json":
        _refuse_no_field(given.url, given.split)
    try:
        adopted = adopt(
            given.url,
            rules,
            name=given.name,
            splits=given.split,
            names=_names(given.names) if given.names else None,
            overwrite=given.overwrite,
            workers=given.workers,
        )
    except FaultyTarsError as error:
        for fault in error.faults[:_SHOWN]:
            print(fault)
        if len(error.faults) > _SHOWN:
            print(f"... and {len(error.faults) - _SHOWN} more")
        raise
    _report(given.url, adopted, time.monotonic() - started)
    return 0


def _names(path: Path) -> list[str]:
    try:
        return [line.strip() for line in path.read_text("utf-8-sig").rstrip().splitlines()]
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(
            f"--names {path}: cannot be read ({error}); give a UTF-8 file with a name a line"
        ) from None


def _first(url: str, splits: list[str]) -> tuple[str, dict[str, bytes]]:
    """The first tar, and the files of its first sample."""
    store = open_store(url)
    refuse_file(store, given=url)
    tars, _ = tars_of_splits(store.names(), splits, url=store.url)
    tar = next(iter(tars.values()))[0]
    return tar, first_sample(store, tar)


def _fields(files: Mapping[str, bytes]) -> list[str]:
    """Fields of a sample's json, "a.b" for nested ones; none if it is no table."""
    try:
        table = parse_json(files.get("json", b"null"))
    except ValueError:
        return []
    return list(_nested(table)) if isinstance(table, dict) else []


def _nested(table: Mapping[str, Any], at: str = "") -> Iterator[str]:
    for field, value in table.items():
        if isinstance(value, dict) and value:
            yield from _nested(value, f"{at}{field}.")
        else:
            yield f"{at}{field}"


def _refuse_no_field(url: str, splits: list[str]) -> None:
    """A json may be a list of labels; of a table the user must say a field."""
    tar, files = _first(url, splits)
    if fields := _fields(files):
        raise ConfigError(
            f"--labels json: say which field; the json of the first sample of {tar} has "
            f"{', '.join(fields)}: write for example --labels json:{fields[0]}"
        )


def _choice_of_labels(url: str, splits: list[str]) -> str:
    """What a user may answer who gave no --labels."""
    tar, files = _first(url, splits)
    found = ", ".join(sorted(files)) or "nothing that WebDataset would read"
    fields = _fields(files)
    offer = " (in its json: " + ", ".join(fields) + ")" if fields else ""
    return (
        f"--labels is missing; the first sample of {tar} has {found}{offer}: say where the labels "
        "are, for example --labels cls or --labels json:FIELD"
    )


def _report(url: str, adopted: Adopted, took_s: float) -> None:
    for fault in adopted.skipped:
        print(f"left out: {fault}")
    for tar in adopted.unused:
        print(f"not used: {tar}")
    print(summary(adopted.manifest, url=url, tars="tar", took_s=took_s))
