"""Reads a tar of someone else's as stock WebDataset does, and looks at every sample.

A sample is what neighbouring files share up to the first dot of their base name
(`dir/key.jpg`, `dir/key.cls`); folders, links and files without an extension are passed over.
"""

import contextlib
import hashlib
import io
import os
import re
import tarfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

from retdm.data.image_files import DAMAGE
from retdm.data.index import Member
from retdm.json_input import is_text
from retdm.shard.adopt_rules import AdoptRules, FaultySampleError
from retdm.shard.fault import Fault
from retdm.shard.photo import STORED, decoded, reason_of
from retdm.shard.spec import Check
from retdm.shard.structure import inspect
from retdm.shard.tar_entries import entries
from retdm.storage import Store

_NAME = re.compile(r"((?:.*/|)[^.]+)[.]([^/]+)", re.DOTALL)
_META = re.compile(r"__[^/]*__($|/)")
_PACKED = {
    b"\x1f\x8b": "gzip",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"\xfd7zXZ": "xz",
    b"BZh": "bzip2",
}
_KINDS = {*STORED, "WEBP"}
_CHUNK_BYTES = 1 << 20
_HEAD_BYTES = 4 << 20


class FaultyTarError(Exception):
    """A tar that cannot be adopted as a whole; the message says why and what to do."""


@dataclass(slots=True)
class ForeignSample:
    """The files of a sample, by extension in lower case."""

    key: str
    files: dict[str, Member] = field(default_factory=dict)
    twice: str = ""
    """A file that is in it a second time, which WebDataset refuses."""

    @property
    def members(self) -> tuple[Member, ...]:
        """For the offset index, which is cut at white space: that is written as in a URL."""
        return tuple(
            Member(_plain(m.ext), m.offset, m.size, _plain(m.name)) for m in self.files.values()
        )


@dataclass(frozen=True, slots=True)
class Row:
    """A sample that is as it should be."""

    key: str
    """In the set; see `AdoptRules.prefix_keys`."""
    labels: list[str]
    image: Member
    members: tuple[Member, ...]
    sha256: str
    width: int
    height: int


def read_rows(
    path: Path, name: str, rules: AdoptRules, known: Mapping[str, int] | None
) -> Iterator[Row | Fault]:
    """Every sample of a tar, in order, as a row of the label table or as what is wrong with it.

    Args:
        path: The tar, on this machine.
        name: Of the tar in the set.
        rules: How to understand it.
        known: See `AdoptRules.label_names`.

    Raises:
        FaultyTarError: If it is damaged, cut off or compressed.
    """
    seen: set[str] = set()
    with path.open("rb") as file:
        for sample in foreign_samples(file):
            key = rules.key(name, sample.key)
            try:
                if not is_text(key):
                    raise FaultySampleError("its name is not UTF-8")
                if key in seen:
                    raise FaultySampleError("another sample of this tar has this key")
                seen.add(key)
                yield _row(file, sample, key, rules, known)
            except FaultySampleError as error:
                yield Fault(name, key, str(error))


def _row(
    file: BinaryIO,
    sample: ForeignSample,
    key: str,
    rules: AdoptRules,
    known: Mapping[str, int] | None,
) -> Row:
    if sample.twice:
        raise FaultySampleError(f"it has {sample.twice!r} twice")
    image = sample.files[rules.pick_image(list(sample.files))]
    described = sample.files[rules.pick_labels(sample.files)]
    labels = rules.label_names(_content(file, described), known)
    content = _content(file, image)
    width, height = _size(content, rules.check)
    digest = hashlib.sha256(content).hexdigest()
    return Row(key, labels, image, sample.members, digest, width, height)


def first_sample(store: Store, name: str) -> dict[str, bytes]:
    """The files of a tar's first sample by extension, as far as they lie at its beginning."""
    head = store.read_range(name, 0, min(store.size(name) or 0, _HEAD_BYTES))
    with contextlib.suppress(FaultyTarError):
        for sample in foreign_samples(io.BytesIO(head)):
            return {e: head[m.offset : m.offset + m.size] for e, m in sample.files.items()}
    return {}


def foreign_samples(file: BinaryIO) -> Iterator[ForeignSample]:
    """The samples of an open tar, as WebDataset groups its files.

    Raises:
        FaultyTarError: See `read_rows`.
    """
    sample: ForeignSample | None = None
    for info in _files(file):
        match = _NAME.fullmatch(info.name)
        if match is None or _META.match(info.name):
            continue
        key, ext = match.groups()
        if sample is None or key != sample.key:
            if sample is not None:
                yield sample
            sample = ForeignSample(key)
        if ext.lower() in sample.files:
            sample.twice = info.name
        sample.files[ext.lower()] = Member(ext, info.offset_data, info.size, info.name)
    if sample is not None:
        yield sample


def _files(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The regular files of a tar; then that it ends as a tar does."""
    start = file.read(6)
    for mark, kind in _PACKED.items():
        if start.startswith(mark):
            raise FaultyTarError(
                f"it is compressed ({kind}), and single images cannot be read out of that; unpack "
                "it (photos hardly get smaller by it)"
            )
    try:
        for info in entries(file):
            if info.issparse():
                raise FaultyTarError(
                    f"{info.name!r} is stored without its holes; pack it without --sparse"
                )
            if info.isreg():
                yield info
    except tarfile.TarError as error:
        raise FaultyTarError(
            f"it is damaged or cut off ({error}); copy or download it again"
        ) from None
    _check_end(file, file.tell())


def _check_end(file: BinaryIO, end: int) -> None:
    """A tar ends in two blocks of zeros or more; where it was cut off between files they lack."""
    file.seek(end)
    mark = file.read(2 * tarfile.BLOCKSIZE)
    if mark != bytes(2 * tarfile.BLOCKSIZE):
        raise FaultyTarError(
            f"it is damaged or cut off (no end-of-archive mark at byte {end}); copy or download "
            "it again"
        )
    while rest := file.read(_CHUNK_BYTES):
        if rest.count(0) != len(rest):
            raise FaultyTarError(
                "there is more behind its end-of-archive mark, which readers do not see, as when "
                "tars are joined by `cat`; split it, or join them by `tar --concatenate`"
            )


def _content(file: BinaryIO, member: Member) -> bytes:
    return os.pread(file.fileno(), member.size, member.offset)


def _size(content: bytes, check: Check) -> tuple[int, int]:
    """Width and height of an image that is sound, as far as it is checked."""
    if not content:
        raise FaultySampleError("the image is empty (0 bytes)")
    try:
        seen = inspect(content)
        if seen and check == "structure":
            return seen.width, seen.height
        image = decoded(content)
    except DAMAGE as error:
        raise FaultySampleError(
            f"the image cannot be decoded ({len(content)} bytes: {reason_of(error)})"
        ) from None
    if image.format not in _KINDS:
        raise FaultySampleError(f"the image is {image.format}, wanted JPEG, PNG or WebP")
    return image.size


def _plain(text: str) -> str:
    """Without white space, and without bytes that are not UTF-8."""

    def escaped(found: re.Match[str]) -> str:
        return "".join(f"%{byte:02X}" for byte in found[0].encode(errors="surrogateescape"))

    return re.sub(r"[\s%\udc80-\udcff]", escaped, text)
