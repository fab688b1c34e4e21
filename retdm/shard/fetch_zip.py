"""Unpacks a zip archive that came from elsewhere: safely, and again from where it was stopped.

Names that would leave the folder, links and encrypted files are refused before anything is
written. A file appears under its name when it is whole and its CRC is right; one that is there
already, with that size and CRC, is not written again; one that is there with other bytes is only
replaced if it came from an archive before.
"""

import os
import shutil
import stat
import zipfile
import zlib
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from fnmatch import fnmatchcase
from pathlib import Path, PurePosixPath

from retdm.console import ByteBar
from retdm.errors import StorageError
from retdm.shard.fetch_options import WORK

_CHUNK_BYTES = 1 << 20
_GROWTH = 100
"""Most bytes unpacked for each of the archive; text becomes some ten."""
_ALWAYS_BYTES = 64 << 20


def unpack(archive: Path, into: Path, *, members: str, own: Collection[Path]) -> dict[str, int]:
    """Write the members that match a pattern to the folder `into`.

    Args:
        archive: A zip file.
        into: Made if need be.
        members: Pattern of whole names, as "train2014/*.jpg".
        own: Files that may be replaced.

    Returns:
        Name and bytes of each file, relative to `into`.

    Raises:
        StorageError: If the archive is damaged or not to be trusted, the disk is full, or a file
            is in the way.
    """
    with _explained(archive, into), zipfile.ZipFile(archive) as opened:
        chosen = _chosen(opened, archive, members)
        into.mkdir(parents=True, exist_ok=True)
        _check_room(_missing(chosen, into), into)
        total = sum(info.file_size for info in chosen)
        with ByteBar(f"unpacking {archive.name}", total) as bar:
            missing = [info for info in chosen if not _is_there(into / info.filename, info)]
            _check_way([into / info.filename for info in missing], into, archive, own)
            done = total - sum(info.file_size for info in missing)
            bar.at(done)
            for info in missing:
                _write(opened, info, into / info.filename)
                done += info.file_size
                bar.at(done)
    return {info.filename: info.file_size for info in chosen}


def missing_bytes(archive: Path, into: Path, *, members: str) -> int:
    """What `unpack` would still write.

    Raises:
        StorageError: If the archive is damaged or not to be trusted.
    """
    with _explained(archive, into), zipfile.ZipFile(archive) as opened:
        return _missing(_chosen(opened, archive, members), into)


@contextmanager
def _explained(archive: Path, into: Path) -> Iterator[None]:
    try:
        yield
    except (
        *(zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError),
        UnicodeError,  # of a name that is another in the directory
    ) as error:
        raise StorageError(
            f"{archive}: not a sound zip archive ({error}); remove it and run the same command "
            "again, and if that does not help check the address in the spec"
        ) from None
    except OSError as error:
        raise StorageError(
            f"{error.filename or into}: {error.strerror or error}; check permissions and free "
            "space, then run the same command again: it continues there"
        ) from error


def _chosen(opened: zipfile.ZipFile, archive: Path, members: str) -> list[zipfile.ZipInfo]:
    """The files to write, in the archive's order, all of them safe."""
    files = [info for info in opened.infolist() if not info.filename.endswith("/")]
    chosen = [info for info in files if fnmatchcase(info.filename, members)]
    if not chosen:
        first = ", ".join(info.filename for info in files[:3]) or "nothing"
        raise StorageError(
            f"{archive}: no file in it matches {members!r}, it begins with {first}; correct "
            "`members` in the spec"
        )
    size, total = archive.stat().st_size, sum(info.file_size for info in chosen)
    if total > _ALWAYS_BYTES + _GROWTH * size:
        raise StorageError(
            f"{archive}: its {size} bytes would become {total}, which could be a decompression "
            "bomb; nothing was unpacked: get the archive from another place"
        )
    seen: set[str] = set()
    for info in chosen:
        if fault := _fault(info) or (info.filename in seen and "is in it twice"):
            raise StorageError(
                f"{archive}: {info.filename!r} {fault}; nothing was unpacked: get the archive "
                "from another place"
            )
        seen.add(info.filename)
    return chosen


def _fault(info: zipfile.ZipInfo) -> str:
    """Why a member may not be written; "" if it may."""
    path = PurePosixPath(info.filename)
    if not path.parts:
        return "is no name"
    if path.is_absolute() or ".." in path.parts or "\\" in info.filename:
        return "leaves the folder"
    if path.parts[:1] == (WORK,):
        return f"is in {WORK}, where fetch keeps its own files"
    if stat.S_IFMT(info.external_attr >> 16) not in (0, stat.S_IFREG):
        return "is a link or a device"
    return "is encrypted" if info.flag_bits & 1 else ""


def _missing(chosen: list[zipfile.ZipInfo], into: Path) -> int:
    """Bytes yet to be written; exact, since no member is written past its declared size."""
    return sum(info.file_size for info in chosen if not _has_size(into / info.filename, info))


def _check_room(needed: int, into: Path) -> None:
    free = shutil.disk_usage(into).free
    if needed > free:
        raise StorageError(
            f"{into}: unpacking takes {needed} bytes, {free} are free; make room or choose "
            "another folder with --to"
        )


def _check_way(targets: list[Path], into: Path, archive: Path, own: Collection[Path]) -> None:
    """See that no file but those of `own` would be lost."""
    blocked = [way for path in targets if path not in own and (way := _in_the_way(path, into))]
    if blocked:
        more = f", and so are {len(blocked) - 1} more" if len(blocked) > 1 else ""
        raise StorageError(
            f"{blocked[0]}: is there already, differs from the one in the archive, and was not "
            f"written by fetch{more}; nothing was unpacked. Move them away, or choose another "
            f"folder with --to and put the archive, {archive}, into that one"
        )


def _in_the_way(target: Path, into: Path) -> Path | None:
    """What lies where a file or a folder above it is to be."""
    if os.path.lexists(target):
        return target
    above = target.parents[: len(target.relative_to(into).parts) - 1]
    return next((path for path in above if os.path.lexists(path) and not path.is_dir()), None)


def _has_size(target: Path, info: zipfile.ZipInfo) -> bool:
    return target.is_file() and target.stat().st_size == info.file_size


def _is_there(target: Path, info: zipfile.ZipInfo) -> bool:
    if not _has_size(target, info):
        return False
    found = 0
    with target.open("rb") as file:
        while chunk := file.read(_CHUNK_BYTES):
            found = zlib.crc32(chunk, found)
    return found == info.CRC


def _write(opened: zipfile.ZipFile, info: zipfile.ZipInfo, target: Path) -> None:
    """Write beside the target, then rename."""
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f".{target.name}.part")
    with part.open("wb") as file:
        for chunk in _content(opened, info):
            file.write(chunk)
    part.replace(target)


def _content(opened: zipfile.ZipFile, info: zipfile.ZipInfo) -> Iterator[bytes]:
    """The member's bytes, never more than it declares; the CRC is checked at the end."""
    left = info.file_size
    with opened.open(info) as source:
        while chunk := source.read(_CHUNK_BYTES):
            left -= len(chunk)
            yield chunk
    if left:
        raise EOFError(f"{info.filename} is cut off")
