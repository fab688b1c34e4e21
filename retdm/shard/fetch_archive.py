"""Brings archives to a folder: download, check, unpack, note down; no step is done twice.

An archive that arrives with another digest than the spec's is fetched once more, since it may
have been altered on its way. One that is the same again is kept as `NAME.wrong` and never fetched
again: a later run compares it with the spec, which may have been corrected, and says the same.
"""

import fcntl
import hashlib
import logging
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from retdm.console import ByteBar
from retdm.errors import StorageError
from retdm.shard.fetch_http import Patience, download
from retdm.shard.fetch_options import WORK, ArchiveOptions
from retdm.shard.fetch_place import Place, unpacked
from retdm.shard.fetch_zip import missing_bytes, unpack
from retdm.shown_url import shown_url

_CHUNK_BYTES = 1 << 20
_GIB = 2**30
_log = logging.getLogger(__name__)


def fetch(
    archives: Sequence[ArchiveOptions], folder: Path, *, spec: str, keep: bool, patience: Patience
) -> Iterator[tuple[ArchiveOptions, dict[str, Any]]]:
    """Bring the files of all archives to `folder`, one archive after the other.

    Args:
        archives: From the spec.
        folder: Made if need be.
        spec: Name of the spec's file, for messages.
        keep: Whether archives stay in `folder/.fetch` when they are unpacked.
        patience: With a server that does not answer.

    Yields:
        Each archive when its files are there, and its record: "sha256" of the archive, and
        "files", bytes by name.

    Raises:
        StorageError: If an archive cannot be fetched, is not the one that the spec means or not
            sound; would overwrite files that do not come from here; or the disk has too little
            room, which is checked before anything is fetched.
    """
    with _locked(folder):
        places = [Place(folder, archive) for archive in archives]
        records = [place.record() for place in places]
        missing = [p for p, record in zip(places, records, strict=True) if record is None]
        _check_room(missing, keep=keep)
        for number, (place, record) in enumerate(zip(places, records, strict=True)):
            if record is None:
                missing.remove(place)
                path, digest = _obtain(place, f"fetch.{number}.digest in {spec}", patience)
                files = unpack(
                    path, place.into, members=place.archive.members, own=unpacked(folder)
                )
                record = place.note(sha256=digest, files=files)
                # An archive may be named twice, its parts going to different folders.
                if path == place.path and not keep and path not in {p.path for p in missing}:
                    path.unlink()
            yield place.archive, record


def _obtain(place: Place, setting: str, patience: Patience) -> tuple[Path, str]:
    """The archive on disk, with the right bytes, and its SHA-256.

    Args:
        place: Of the archive.
        setting: Where its digest stands.
        patience: With the server.
    """
    archive, path = place.archive, place.path
    if place.given.is_file():
        wrong, digest = _check(place.given, archive)
        if not wrong:
            return place.given, digest
        _log.warning("%s: %s, so it is not used", place.given, wrong)
    if place.wrong.is_file():
        wrong, digest = _check(place.wrong, archive)
        if wrong:
            raise _another(place, wrong, setting, "as an earlier run found")
        place.wrong.replace(path)
        return path, digest
    path.parent.mkdir(exist_ok=True)
    before = ""
    for attempt in range(2):
        if not path.exists():
            download(archive.url, path, size=archive.bytes, patience=patience)
        wrong, digest = _check(path, archive)
        if not wrong:
            return path, digest
        if attempt == 0:
            before = digest
            path.unlink()
            _log.warning("%s: %s (%s); fetching it once more", path, wrong, setting)
    if digest == before:
        path.replace(place.wrong)
        raise _another(place, wrong, setting, "and so it was when fetched once more")
    path.unlink()
    raise StorageError(
        f"{shown_url(archive.url)}: {wrong} ({setting}), and it was different again when "
        "fetched before: something between alters it; try another network, then run the same "
        "command again"
    )


def _another(place: Place, wrong: str, setting: str, when: str) -> StorageError:
    return StorageError(
        f"{shown_url(place.archive.url)}: {wrong} ({setting}), {when}; so it is another file "
        f"than the spec means, and is kept as {place.wrong}. If the site of the data set gives "
        "the digest found, correct the spec and run the same command again, which uses that "
        "file; if not, correct the address, or remove that file to fetch it anew"
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


def _check_room(missing: Sequence[Place], *, keep: bool) -> None:
    """Compare what is still to come, at its largest moment, with the free disk space."""
    needed = largest = 0
    for place in missing:
        size = place.archive.bytes
        needed += max(size - place.bytes_here, 0) + _left_to_unpack(place)
        largest = max(largest, needed)
        if not keep and not place.given.exists():
            needed -= size
        free = shutil.disk_usage(place.folder).free
        if largest > free:
            raise StorageError(
                f"{place.folder}: {largest / _GIB:.1f} GiB are needed to download and unpack what "
                f"is missing, {free / _GIB:.1f} GiB are free; make room or choose another folder "
                "with --to"
            )


def _left_to_unpack(place: Place) -> int:
    if place.path.exists():
        # If it is damaged, that is found and mended later.
        with suppress(StorageError):
            return missing_bytes(place.path, place.into, members=place.archive.members)
    return place.archive.unpacked or place.archive.bytes


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    """Keep a second fetch out of the folder; the lock of a killed one is gone with it."""
    try:
        (folder / WORK).mkdir(parents=True, exist_ok=True)
        with (folder / WORK / "lock").open("w") as file:
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
