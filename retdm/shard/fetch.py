"""`python -m retdm.shard fetch`: the official archives of a spec, downloaded and unpacked.

Archives lie in `.fetch/` of the folder while they are needed; an archive that is unpacked leaves
a record there with its digest and its files, and is not fetched again while they are in place.
"""

import argparse
import fcntl
import hashlib
import json
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias
from urllib.parse import unquote, urlsplit

from retdm.console import ByteBar
from retdm.errors import ConfigError, StorageError
from retdm.shard.fetch_http import Patience, download, part_of
from retdm.shard.fetch_zip import missing_bytes, unpack
from retdm.shard.spec import ArchiveOptions, load_spec

Commands: TypeAlias = "argparse._SubParsersAction[argparse.ArgumentParser]"
_WORK = ".fetch"
_CHUNK_BYTES = 1 << 20
_GIB = 2**30
_log = logging.getLogger(__name__)
_EXAMPLES = """examples:
  python -m retdm.shard fetch shards/coco2014.toml --to ~/coco      20 GB, twice 14 GB in between
  python -m retdm.shard fetch shards/mirflickr25k.toml --to ~/mir   3 GB
  python -m retdm.shard build shards/mirflickr25k.toml --source ~/mir --out s3://photos/mir

Run it again after any interruption: it goes on where it was. An archive that lies in DIR already
(downloaded otherwise) is used and left there. Proxies: HTTP_PROXY, HTTPS_PROXY, NO_PROXY."""


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
        help=f"keep the archives, in DIR/{_WORK}, when they are unpacked; default: no",
    )
    command.add_argument(
        "--patience",
        type=float,
        default=Patience().give_up_s,
        metavar="S",
        help="seconds without a new byte after which to give up; default: %(default)s",
    )
    command.set_defaults(run=_run)


def _run(given: argparse.Namespace) -> int:
    spec, _ = load_spec(given.spec)
    if not spec.fetch:
        raise ConfigError(
            f"{given.spec}: names no archive ([[fetch]]), so there is nothing to download; its "
            "first lines say what --source must hold"
        )
    folder = given.to or Path(spec.name)
    patience = Patience(give_up_s=given.patience)
    for archive, found in fetch(spec.fetch, folder, keep=given.keep, patience=patience):
        checked = (
            f"as the spec says ({archive.digest.partition(':')[0]})"
            if archive.digest
            else "nothing to compare it with, the spec has no digest"
        )
        print(
            f"{_name(archive)}: {len(found['files'])} files; sha256 {found['sha256']}, {checked}"
        )
    print(
        f"{folder} is ready: python -m retdm.shard build {given.spec} --source {folder} --out URL"
    )
    return 0


def fetch(
    archives: Sequence[ArchiveOptions], folder: Path, *, keep: bool, patience: Patience
) -> Iterator[tuple[ArchiveOptions, dict[str, Any]]]:
    """Bring the files of all archives to `folder`, one archive after the other.

    Args:
        archives: From the spec.
        folder: Made if need be.
        keep: Whether archives stay in `folder/.fetch` when they are unpacked.
        patience: With a server that does not answer.

    Yields:
        Each archive when its files are there, and its record: "sha256" of the archive, and
        "files", bytes by name.

    Raises:
        StorageError: If an archive cannot be fetched, is not the one that the spec means or not
            sound, or the disk has too little room, which is checked before anything is fetched.
    """
    with _locked(folder):
        there = [_record(archive, folder) for archive in archives]
        missing = [a for a, record in zip(archives, there, strict=True) if record is None]
        _check_room(missing, folder, keep=keep)
        for archive, record in zip(archives, there, strict=True):
            yield archive, record or _bring(archive, folder, keep=keep, patience=patience)


def _name(archive: ArchiveOptions) -> str:
    return unquote(urlsplit(archive.url).path.rpartition("/")[2])


def _bring(
    archive: ArchiveOptions, folder: Path, *, keep: bool, patience: Patience
) -> dict[str, Any]:
    """Download, check, unpack, note it down, and remove the archive."""
    path, digest = _obtain(archive, folder, patience)
    files = unpack(path, folder / archive.into, members=archive.members)
    record = {"archive": archive.model_dump(), "sha256": digest, "files": files}
    note = _note(archive, folder)
    beside = note.with_suffix(".part")
    beside.write_text(json.dumps(record))
    beside.replace(note)
    if path.parent.name == _WORK and not keep:
        path.unlink()
    return record


def _obtain(archive: ArchiveOptions, folder: Path, patience: Patience) -> tuple[Path, str]:
    """The archive on disk, with the right bytes, and its SHA-256."""
    given = folder / _name(archive)
    if given.is_file():
        wrong, digest = _check(given, archive)
        if not wrong:
            return given, digest
        _log.warning("%s: %s, so it is not used", given, wrong)
    path = folder / _WORK / _name(archive)
    for attempt in range(2):
        if not path.exists():
            download(archive.url, path, size=archive.bytes, patience=patience)
        wrong, digest = _check(path, archive)
        if not wrong:
            return path, digest
        path.unlink()
        if attempt == 0:
            _log.warning("%s: %s; fetching it again", path, wrong)
    raise StorageError(
        f"{archive.url}: {wrong}, and so it was when fetched again; the file was replaced, or "
        "something between alters it: try another network, or compare with the site of the data "
        "set and correct the spec"
    )


def _check(path: Path, archive: ArchiveOptions) -> tuple[str, str]:
    """What is wrong with the archive's bytes ("" if nothing is), and their SHA-256."""
    if path.stat().st_size != archive.bytes:
        return f"{path.stat().st_size} bytes, the spec says {archive.bytes}", ""
    kind, _, wanted = archive.digest.partition(":")
    sums = {name: hashlib.new(name) for name in {"sha256", kind or "sha256"}}
    done = 0
    with path.open("rb") as file, ByteBar(f"checking {path.name}", archive.bytes) as bar:
        while chunk := file.read(_CHUNK_BYTES):
            for each in sums.values():
                each.update(chunk)
            done += len(chunk)
            bar.at(done)
    digest = sums["sha256"].hexdigest()
    if wanted and (found := sums[kind].hexdigest()) != wanted:
        return f"{kind} is {found}, the spec says {wanted}", digest
    return "", digest


def _note(archive: ArchiveOptions, folder: Path) -> Path:
    return folder / _WORK / f"{_name(archive)}.json"


def _record(archive: ArchiveOptions, folder: Path) -> dict[str, Any] | None:
    """What an earlier run noted, if it was of the same archive and its files are in place."""
    try:
        record: dict[str, Any] = json.loads(_note(archive, folder).read_text())
    except (FileNotFoundError, ValueError):
        return None
    if record["archive"] != archive.model_dump():
        return None
    root = folder / archive.into
    for name, size in record["files"].items():
        if not (root / name).is_file() or (root / name).stat().st_size != size:
            _log.warning("%s is missing or damaged; getting %s again", root / name, _name(archive))
            return None
    return record


def _check_room(missing: Sequence[ArchiveOptions], folder: Path, *, keep: bool) -> None:
    """Compare what is still to come, at its largest moment, with the free disk space."""
    needed = largest = 0
    for archive in missing:
        path, given = folder / _WORK / _name(archive), folder / _name(archive)
        have = [p.stat().st_size for p in (path, part_of(path), given) if p.exists()]
        needed += max(archive.bytes - max(have, default=0), 0) + _left_to_unpack(archive, folder)
        largest = max(largest, needed)
        if not keep and not given.exists():
            needed -= archive.bytes
    free = shutil.disk_usage(folder).free
    if largest > free:
        raise StorageError(
            f"{folder}: {largest / _GIB:.1f} GiB are needed to download and unpack what is "
            f"missing, {free / _GIB:.1f} GiB are free; make room or choose another folder with "
            "--to"
        )


def _left_to_unpack(archive: ArchiveOptions, folder: Path) -> int:
    path = folder / _WORK / _name(archive)
    if path.exists():
        # If it is damaged, that is found and mended later.
        with suppress(StorageError):
            return missing_bytes(path, folder / archive.into, members=archive.members)
    return archive.unpacked or archive.bytes


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second fetch out of the folder; the lock of a killed one is gone with it."""
    try:
        (folder / _WORK).mkdir(parents=True, exist_ok=True)
        with (folder / _WORK / "lock").open("w") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise StorageError(
                    f"{folder}: another fetch is at work here; wait for it, or choose another "
                    "folder with --to"
                ) from None
            yield
    except OSError as error:
        raise StorageError(
            f"{error.filename or folder}: {error.strerror or error}; check permissions and free "
            "space"
        ) from error
