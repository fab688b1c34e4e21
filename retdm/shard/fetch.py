"""`python -m retdm.shard fetch`: the official archives of a spec, downloaded and unpacked."""

import argparse
import math
from pathlib import Path
from typing import TypeAlias

from retdm.errors import ConfigError, StorageError
from retdm.shard.fetch_archive import fetch
from retdm.shard.fetch_http import Patience
from retdm.shard.fetch_options import WORK, archive_name
from retdm.shard.spec import load_spec

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_EXAMPLES = """examples:
  python -m retdm.shard fetch shards/coco2014.toml --to ~/coco      20 GB, twice 14 GB in between
  python -m retdm.shard fetch shards/mirflickr25k.toml --to ~/mir   3 GB
  python -m retdm.shard build shards/mirflickr25k.toml --source ~/mir --out s3://photos/mir

Run it again after any interruption: it goes on where it was. An archive that lies in DIR already
(downloaded otherwise) is used and left there. Files that are in DIR and that fetch did not write
are never overwritten. Proxies: HTTP_PROXY, HTTPS_PROXY, NO_PROXY.

the archives of a spec, one table for each:
  [[fetch]]
  url = "https://HOST/photos.zip"      a zip archive, by http or https; needed
  bytes = 3_069_184_257                its size; needed
  digest = "md5:a23d..."               "sha256:" and 64 hexadecimal digits, or "md5:" and 32;
                                       left out: there is nothing to compare the archive with
  members = "mirflickr/im*.jpg"        the files to unpack, by a pattern; left out: all
  into = "annotations"                 the folder of DIR that they go to; left out: DIR itself
  unpacked = 2_000_000                 their size, about, to check the free space; left out: as
                                       the archive"""


def add_parser(commands: Commands) -> None:
    """Add the command to `python -m retdm.shard`."""
    command = commands.add_parser(
        "fetch",
        help="download and unpack the official archives of a spec",
        description="Download and unpack the official archives of a spec: continued after any "
        "interruption, checked against size and digest, nothing fetched twice.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    command.add_argument("spec", metavar="SPEC.toml", help="see shards/")
    command.add_argument(
        "--to", type=Path, metavar="DIR", help="folder for build's --source; default: its name"
    )
    command.add_argument(
        "--keep",
        action=argparse.BooleanOptionalAction,
        default=False,
        help=f"keep the archives, in DIR/{WORK}, when they are unpacked; default: no",
    )
    command.add_argument(
        "--patience",
        type=_seconds,
        default=Patience().give_up_s,
        metavar="S",
        help="seconds without a new byte after which to give up; default: %(default)s",
    )
    command.set_defaults(run=_run)


def _seconds(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not 0 <= value < math.inf:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number of seconds, 0 or more")
    return value


def _run(given: argparse.Namespace) -> int:
    spec, _ = load_spec(given.spec)
    if not spec.fetch:
        raise ConfigError(
            f"{given.spec}: names no archive ([[fetch]]), so there is nothing to download; its "
            "first lines say what --source must hold"
        )
    folder = given.to or _own_folder(spec.name, given.spec)
    patience = Patience(give_up_s=given.patience)
    for archive, found in fetch(
        spec.fetch, folder, spec=given.spec, keep=given.keep, patience=patience
    ):
        checked = (
            f"as the spec says ({archive.digest.partition(':')[0]})"
            if archive.digest
            else "nothing to compare it with, the spec has no digest"
        )
        print(
            f"{archive_name(archive.url)}: {len(found['files'])} files; "
            f"sha256 {found['sha256']}, {checked}"
        )
    print(
        f"{folder} is ready: python -m retdm.shard build {given.spec} --source {folder} --out URL"
    )
    return 0


def _own_folder(name: str, spec: str) -> Path:
    """The folder of the spec's name, if there is none yet, or an empty one, or one of fetch.

    Raises:
        ConfigError: If the name cannot be a folder's.
        StorageError: If the folder holds something else.
    """
    folder = Path(name)
    if name in (".", "..") or folder.name != name:
        raise ConfigError(
            f"{spec}: name is {name!r}, which cannot be a folder's; choose a folder with --to"
        )
    if folder.is_dir() and any(folder.iterdir()) and not (folder / WORK).is_dir():
        raise StorageError(
            f"{folder}: this folder is there already, and fetch did not make it; choose another "
            f"with --to, or say --to {folder} to unpack beside what is in it"
        )
    return folder
