"""Tars that a stock WebDataset reader takes, the same bytes every time.

A sample is two files that share a key: the image (`KEY.jpg` or `KEY.png`) and `KEY.json`. Time
stamps are 0, owner and mode are fixed, and nothing depends on the machine.
"""

import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from pathlib import Path

from retdm.data.index import Member
from retdm.shard.photo import Photo

_BLOCK = 512


def description(key: str, labels: Sequence[int], names: Sequence[str]) -> bytes:
    """Content of a sample's JSON file."""
    value = {"key": key, "label_ids": list(labels), "labels": [names[i] for i in labels]}
    return json.dumps(value, ensure_ascii=False).encode()


def size_in_tar(*contents: bytes) -> int:
    """Bytes that files of these contents add to a tar: a header each, whole blocks."""
    return sum(_BLOCK + -(-len(content) // _BLOCK) * _BLOCK for content in contents)


class TarShard:
    """Writes one tar at a local path; incomplete before `close`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.samples = 0
        self.bytes = 0
        """Of the samples so far, without the end-of-archive blocks."""
        # webdataset's own writer gives the same files, but importing it brings torch along.
        self._tar = tarfile.open(  # noqa: SIM115 - open until `close`
            path, "w", format=tarfile.PAX_FORMAT, encoding="utf-8"
        )

    def add(self, key: str, photo: Photo, json_content: bytes) -> None:
        """Append a sample."""
        for suffix, content in sorted([(photo.suffix, photo.content), ("json", json_content)]):
            info = tarfile.TarInfo(f"{key}.{suffix}")
            info.size = len(content)
            info.mode = 0o444
            info.uname = info.gname = "retdm"
            self._tar.addfile(info, io.BytesIO(content))
        self.samples += 1
        self.bytes += size_in_tar(photo.content, json_content)

    def close(self) -> None:
        """Write the end of the archive."""
        self._tar.close()


def read_samples(path: Path) -> Iterator[tuple[str, dict[str, tuple[Member, bytes]]]]:
    """Key and files (by suffix) of each sample of a tar, in order.

    Raises:
        tarfile.TarError: If the tar is damaged.
        EOFError: If it is cut off.
    """
    key = ""
    files: dict[str, tuple[Member, bytes]] = {}
    with tarfile.open(path, "r:") as tar:
        for info in tar:
            this, _, ext = info.name.partition(".")
            if files and this != key:
                yield key, files
                files = {}
            key = this
            member = Member(ext=ext, offset=info.offset_data, size=info.size, name=info.name)
            reader = tar.extractfile(info)
            content = reader.read() if reader else b""
            if len(content) != info.size:
                raise EOFError(f"{info.name} is cut off")
            files[ext] = (member, content)
        _check_end(path, tar.offset)
    if files:
        yield key, files


def _check_end(path: Path, end: int) -> None:
    """A tar ends in two blocks of zeros; where it is cut between two files they are missing."""
    with path.open("rb") as file:
        file.seek(end)
        if file.read(2 * _BLOCK) != bytes(2 * _BLOCK):
            raise EOFError("it is cut off: the end-of-archive mark is missing")


def read_members(path: Path) -> list[tuple[Member, ...]]:
    """Offsets of the files of each sample: what the index beside the tar holds."""
    return [tuple(member for member, _ in files.values()) for _, files in read_samples(path)]
