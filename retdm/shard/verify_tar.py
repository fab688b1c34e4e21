"""Checks one tar and its index against the manifest and the label table."""

import contextlib
import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

from retdm.data.index import Member, format_index, parse_index
from retdm.data.manifest import ShardInfo
from retdm.data.table import LabelTable
from retdm.errors import ShardError
from retdm.shard.photo import DAMAGE, STORED
from retdm.shard.tar import read_samples
from retdm.storage import Store
from retdm.storage.file import FileStore


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that is wrong."""

    file: str
    """Name in the shard set."""
    sample: str
    """Key, or "" if it concerns the whole file."""
    what: str

    def __str__(self) -> str:
        where = f"{self.file}: sample {self.sample!r}" if self.sample else self.file
        return f"{where}: {self.what}"


@dataclass(frozen=True, slots=True)
class TableRows:
    """What the label table says of the samples of one tar."""

    keys: list[str]
    targets: npt.NDArray[np.bool_]
    digests: npt.NDArray[np.uint8]
    widths: npt.NDArray[np.int32]
    heights: npt.NDArray[np.int32]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]


def rows_of(table: LabelTable, start: int, end: int) -> TableRows:
    """Rows `start` to `end` of a label table; fewer if it is shorter."""
    part = slice(start, end)
    return TableRows(
        table.keys[part],
        table.targets[part],
        table.digests[part],
        table.widths[part],
        table.heights[part],
        table.offsets[part],
        table.sizes[part],
    )


@dataclass(frozen=True, slots=True)
class TarCheck:
    """A tar to be checked and what it should be."""

    store: Store
    shard: ShardInfo
    labels: tuple[str, ...]
    """Names in column order."""
    rows: TableRows | None
    """None if there is no label table that could be read."""
    has_index: bool


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
    with _local(check.store, shard.name) as path:
        size = path.stat().st_size
        if size != shard.bytes:
            faults.append(Fault(shard.name, "", f"{size} bytes, the manifest says {shard.bytes}"))
        faults += wrong_digest(shard.name, path, shard.sha256)
        try:
            for key, files in read_samples(path):
                faults += _sample(check, key, files, len(members))
                members.append(tuple(member for member, _ in files.values()))
        except (tarfile.TarError, EOFError) as error:
            faults.append(Fault(shard.name, "", f"damaged behind sample {len(members)}: {error}"))
    if len(members) != shard.samples:
        faults.append(
            Fault(shard.name, "", f"{len(members)} samples, the manifest says {shard.samples}")
        )
    if check.has_index:
        faults += _index(check.store, shard, members)
    yield TarFaults(shard.name, faults)


@contextlib.contextmanager
def _local(store: Store, name: str) -> Iterator[Path]:
    """The file on the local disk, copied there if it lies elsewhere."""
    if isinstance(store, FileStore):
        yield store.path(name)
        return
    with tempfile.TemporaryDirectory(prefix="retdm-verify-") as folder:
        path = Path(folder, "shard.tar")
        store.download(name, path)
        yield path


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
    content = store.read(shard.index)
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


def _sample(
    check: TarCheck, key: str, files: dict[str, tuple[Member, bytes]], row: int
) -> Iterator[Fault]:
    """Compare one sample of a tar with its row of the label table."""
    file, table = check.shard.name, check.rows
    images = [ext for ext in files if ext in STORED.values()]
    if len(images) != 1 or "json" not in files or len(files) != 2:
        yield Fault(file, key, f"has {sorted(files)}, wanted one jpg or png and one json")
        return
    (member, image), (_, text) = files[images[0]], files["json"]
    try:
        described = json.loads(text)
        labels, names = described["label_ids"], described["labels"]
        known = [check.labels.index(name) for name in names]
    except (ValueError, KeyError, TypeError):
        yield Fault(file, key, "its json has no label_ids and labels of this label space")
        return
    if labels != known:
        yield Fault(file, key, f"label_ids {labels} are not the labels {names}")
    if table is None or row >= len(table.keys):
        return
    if key != table.keys[row]:
        yield Fault(file, key, f"the label table has {table.keys[row]!r} in this place")
        return
    columns = np.flatnonzero(table.targets[row]).tolist()
    if labels != columns:
        yield Fault(file, key, f"labels {labels}, the label table says {columns}")
    if (member.offset, member.size) != (table.offsets[row], table.sizes[row]):
        yield Fault(
            file,
            key,
            f"the image is {member.size} bytes at {member.offset}, the label table says "
            f"{table.sizes[row]} at {table.offsets[row]}",
        )
    if hashlib.sha256(image).digest() != table.digests[row].tobytes():
        yield Fault(file, key, "the image is not the one of the label table (sha256)")
    try:
        size = Image.open(io.BytesIO(image)).size
    except DAMAGE as error:
        yield Fault(file, key, f"the image cannot be opened ({type(error).__name__})")
        return
    if size != (table.widths[row], table.heights[row]):
        listed = f"{table.widths[row]}x{table.heights[row]}"
        yield Fault(file, key, f"{size[0]}x{size[1]} pixels, the label table says {listed}")
