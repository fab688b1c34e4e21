"""Checks one tar and its index against the manifest and the label table."""

import hashlib
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from retdm.data.image_files import DAMAGE, open_image
from retdm.data.index import Member, format_index, parse_index
from retdm.data.manifest import ShardInfo
from retdm.data.table import LabelTable
from retdm.errors import ShardError
from retdm.json_input import parse_json
from retdm.shard.adopt_rules import AdoptRules
from retdm.shard.adopt_tar import FaultyTarError, read_rows
from retdm.shard.fault import Fault
from retdm.shard.local import local_copy, stored_bytes
from retdm.shard.photo import STORED
from retdm.shard.tar import read_samples
from retdm.storage import Store

Members = tuple[Member, ...]


@dataclass(frozen=True, slots=True)
class TarCheck:
    """A tar to be checked and what it should be."""

    store: Store
    shard: ShardInfo
    labels: tuple[str, ...]
    """Names in column order."""
    rows: LabelTable | None
    """Of its samples; None if there is no label table that could be read."""
    has_index: bool
    adopted: AdoptRules | None = None
    """How to understand the samples, if others wrote the tar."""


@dataclass(frozen=True, slots=True)
class TarFaults:
    """What is wrong with a tar."""

    name: str
    faults: list[Fault]


def check_tar(check: TarCheck) -> Iterator[TarFaults]:
    """Read a tar and its index and yield everything that is wrong with them."""
    shard = check.shard
    faults: list[Fault] = []
    members: list[tuple[Member, ...]] = []
    with local_copy(check.store, shard.name, sha256=shard.sha256) as path:
        size = path.stat().st_size
        if size != shard.bytes:
            faults.append(Fault(shard.name, "", f"{size} bytes, the manifest says {shard.bytes}"))
        faults += wrong_digest(shard.name, path, shard.sha256)
        samples = (_own_samples if check.adopted is None else _adopted_samples)(check, path)
        try:
            for files, wrong in samples:
                faults += wrong
                if files is not None:
                    members.append(files)
        except (tarfile.TarError, EOFError, FaultyTarError) as error:
            faults.append(Fault(shard.name, "", f"damaged behind sample {len(members)}: {error}"))
    if len(members) != shard.samples:
        faults.append(
            Fault(shard.name, "", f"{len(members)} samples, the manifest says {shard.samples}")
        )
    if check.has_index:
        faults += _index(check.store, shard, members)
    yield TarFaults(shard.name, faults)


def wrong_digest(file: str, content: bytes | Path, wanted: str) -> Iterator[Fault]:
    """A fault if the SHA-256 is another one."""
    if isinstance(content, bytes):
        found = hashlib.sha256(content).hexdigest()
    else:
        with content.open("rb") as opened:
            found = hashlib.file_digest(opened, "sha256").hexdigest()
    if found != wanted:
        yield Fault(
            file,
            "",
            f"sha256 is {found[:12]}..., the manifest says {wanted[:12]}...; "
            "upload it again or rebuild the shard set",
        )


def _index(store: Store, shard: ShardInfo, members: list[tuple[Member, ...]]) -> list[Fault]:
    content = stored_bytes(store, shard.index, sha256=shard.index_sha256)
    faults = list(wrong_digest(shard.index, content, shard.index_sha256))
    try:
        listed = parse_index(content, name=shard.index)
    except ShardError as error:
        return [*faults, Fault(shard.index, "", str(error))]
    for found, true in zip(listed, members, strict=False):
        if found != true:
            key = true[0].name.partition(".")[0]
            faults.append(Fault(shard.index, key, f"listed as {found}, the tar has {true}"))
    if not faults and content != format_index(members):
        faults.append(Fault(shard.index, "", f"{len(listed)} samples, the tar has {len(members)}"))
    return faults


def _own_samples(check: TarCheck, path: Path) -> Iterator[tuple[Members | None, list[Fault]]]:
    """The files of each sample, and what is wrong with it."""
    for number, (key, files) in enumerate(read_samples(path)):
        yield tuple(member for member, _ in files.values()), list(_own(check, key, files, number))


def _own(
    check: TarCheck, key: str, files: dict[str, tuple[Member, bytes]], number: int
) -> Iterator[Fault]:
    file = check.shard.name
    images = [ext for ext in files if ext in STORED.values()]
    if len(images) != 1 or "json" not in files or len(files) != 2:
        yield Fault(file, key, f"has {sorted(files)}, wanted one jpg or png and one json")
        return
    (member, image), (_, text) = files[images[0]], files["json"]
    try:
        described = parse_json(text)
        labels, names = described["label_ids"], described["labels"]
        known = [check.labels.index(name) for name in names]
    except (ValueError, KeyError, TypeError):
        yield Fault(file, key, "its json has no label_ids and labels of this label space")
        return
    if labels != known:
        yield Fault(file, key, f"label_ids {labels} are not the labels {names}")
    size: tuple[int, int] | None = None
    try:
        size = open_image(image).size
    except DAMAGE as error:
        yield Fault(file, key, f"the image cannot be opened ({type(error).__name__})")
    digest = hashlib.sha256(image).digest()
    yield from _compare(check, number, _Found(key, labels, member, digest, size))


def _adopted_samples(check: TarCheck, path: Path) -> Iterator[tuple[Members | None, list[Fault]]]:
    """The same of a tar that others wrote, read as it was when it was adopted."""
    rules = check.adopted
    assert rules is not None
    columns = {label: column for column, label in enumerate(check.labels)}
    number = 0
    for row in read_rows(path, check.shard.name, rules, columns if rules.listed else None):
        if isinstance(row, Fault):
            yield None, [] if rules.skip_faulty else [row]
            continue
        labels = sorted(columns.get(name, -1) for name in row.labels)
        digest, size = bytes.fromhex(row.sha256), (row.width, row.height)
        found = _Found(row.key, labels, row.image, digest, size)
        yield row.members, list(_compare(check, number, found))
        number += 1


@dataclass(frozen=True, slots=True)
class _Found:
    """What a tar says of a sample."""

    key: str
    labels: list[int]
    image: Member
    digest: bytes
    size: tuple[int, int] | None
    """Width and height; None if that cannot be told."""


def _compare(check: TarCheck, number: int, found: _Found) -> Iterator[Fault]:
    """Compare a sample of a tar with its row of the label table."""
    file, key, table = check.shard.name, found.key, check.rows
    if table is None or number >= len(table):
        return
    if key != table.keys[number]:
        yield Fault(file, key, f"the label table has {table.keys[number]!r} in this place")
        return
    columns = np.flatnonzero(table.targets[number]).tolist()
    if found.labels != columns:
        yield Fault(file, key, f"labels {found.labels}, the label table says {columns}")
    place = (table.offsets[number], table.sizes[number])
    if (found.image.offset, found.image.size) != place:
        yield Fault(
            file,
            key,
            f"the image is {found.image.size} bytes at {found.image.offset}, the label table "
            f"says {place[1]} at {place[0]}",
        )
    if found.digest != table.digest(number):
        yield Fault(file, key, "the image is not the one of the label table (sha256)")
    width, height = table.widths[number], table.heights[number]
    if found.size is not None and found.size != (width, height):
        yield Fault(
            file,
            key,
            f"{found.size[0]}x{found.size[1]} pixels, the label table says {width}x{height}",
        )
