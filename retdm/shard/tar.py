"""Tars that a stock WebDataset reader takes, the same bytes every time.

A sample is two files that share a key: the image (`KEY.jpg` or `KEY.png`) and `KEY.json`. Time
stamps are 0, owner and mode are fixed, and nothing depends on the machine.

webdataset's own writer gives the same files; importing it would bring torch along.
"""

import hashlib
import json
import os
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO

from retdm.data.index import Member
from retdm.shard.photo import Photo
from retdm.shard.tar_entries import entries

_BLOCK = 512
_ENCODER = json.JSONEncoder(ensure_ascii=False)


def description(key: str, labels: Sequence[int], names: Sequence[str]) -> bytes:
    """Content of a sample's JSON file."""
    value = {"key": key, "label_ids": list(labels), "labels": [names[i] for i in labels]}
    return _ENCODER.encode(value).encode()


def size_in_tar(*sizes: int) -> int:
    """Bytes that files of these sizes add to a tar: a header each, whole blocks."""
    return sum(_BLOCK + -(-size // _BLOCK) * _BLOCK for size in sizes)


class TarShard:
    """Writes one tar into an open file, and hashes and indexes it on the way."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._digest = hashlib.sha256()
        self.bytes = 0
        """Written so far."""
        self.members: list[tuple[Member, ...]] = []
        """The files of each sample: what the index beside the tar holds."""

    @property
    def sha256(self) -> str:
        """Of what was written so far, hex."""
        return self._digest.hexdigest()

    def add(self, key: str, photo: Photo, json_content: bytes) -> Member:
        """Append a sample; returns where its image lies."""
        image = (photo.suffix, photo.content)
        blocks: list[bytes] = []
        members = {}
        end = self.bytes
        for suffix, content in sorted([image, ("json", json_content)]):
            name = f"{key}.{suffix}"
            start, padding = header(name, len(content)), bytes(-len(content) % _BLOCK)
            members[suffix] = Member(suffix, end + len(start), len(content), name)
            blocks += (start, content, padding)
            end += len(start) + len(content) + len(padding)
        self._write(b"".join(blocks))
        self.members.append(tuple(members.values()))
        return members[photo.suffix]

    def close(self) -> None:
        """Write the end of the archive; the file stays open."""
        self._write(bytes(2 * _BLOCK))
        self._write(bytes(-self.bytes % tarfile.RECORDSIZE))

    def _write(self, content: bytes) -> None:
        self._file.write(content)
        self._digest.update(content)
        self.bytes += len(content)


def header(name: str, size: int) -> bytes:
    """The tar header of a file, as `tarfile` makes it but ten times as fast.

    A name that is long or not ASCII needs more blocks; these are left to `tarfile`.
    """
    if len(name) > 100 or not name.isascii() or size >= 8**11:
        return _tarfile_header(name, size)
    # The checksum is the sum of all bytes, its own field counted as blanks.
    start = b"%b%b%011o" % (name.encode().ljust(100, b"\0"), _MODE_AND_OWNER, size)
    checksum = sum(start) + _REST_SUM
    return b"%b%b%06o\0 %b" % (start, _NO_TIME, checksum, _REST)


def _tarfile_header(name: str, size: int) -> bytes:
    info = tarfile.TarInfo(name)
    info.size = size
    info.mode = 0o444
    info.uname = info.gname = "retdm"
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8")


_TEMPLATE = _tarfile_header("", 0)
_MODE_AND_OWNER, _NO_TIME, _REST = _TEMPLATE[100:124], _TEMPLATE[135:148], _TEMPLATE[156:]
_REST_SUM = sum(_NO_TIME) + 8 * ord(" ") + sum(_REST)


def read_samples(path: Path) -> Iterator[tuple[str, dict[str, tuple[Member, bytes]]]]:
    """Key and files (by suffix) of each sample of a tar, in order.

    Raises:
        tarfile.TarError: If the tar is damaged, or has links or other entries than files.
        EOFError: If it is cut off.
    """
    key = ""
    files: dict[str, tuple[Member, bytes]] = {}
    with path.open("rb") as file:
        for info in entries(file):
            if not info.isreg() or info.issparse():
                raise tarfile.ReadError(f"{info.name!r} is not a plain file")
            this, _, ext = info.name.partition(".")
            if files and this != key:
                yield key, files
                files = {}
            key = this
            member = Member(ext=ext, offset=info.offset_data, size=info.size, name=info.name)
            files[ext] = (member, os.pread(file.fileno(), info.size, info.offset_data))
        if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
            # Where a tar is cut between two files, the two blocks of zeros at its end are missing.
            raise EOFError("it is cut off: the end-of-archive mark is missing")
    if files:
        yield key, files
