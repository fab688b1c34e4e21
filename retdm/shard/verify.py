"""Reads a whole shard set back and lists everything that is not as the manifest says."""

import hashlib
import io
import json
import tarfile
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from retdm.console import progress
from retdm.data.index import Member, format_index, parse_index
from retdm.data.manifest import MANIFEST, Manifest, ShardInfo, SplitInfo, load_manifest
from retdm.data.table import LabelTable, read_table
from retdm.errors import ShardError
from retdm.shard.photo import DAMAGE, STORED
from retdm.shard.tar import read_samples
from retdm.storage import Store, open_store


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


def verify(url: str) -> list[Fault]:
    """Check every file, sample, offset, label and digest of a shard set.

    Returns:
        All faults; empty if the set is sound. A missing or damaged manifest is the only fault
        that hides others.

    Raises:
        StorageError: If the place cannot be read at all.
    """
    store = open_store(url)
    try:
        manifest = load_manifest(store)
    except ShardError as error:
        return [Fault(MANIFEST, "", str(error))]
    faults = list(_files(store, manifest))
    missing = {fault.file for fault in faults}
    keys: dict[str, str] = {}
    total = sum(len(split.shards) for split in manifest.splits.values())
    for fault in progress(
        _contents(store, manifest, missing, keys), total=total, label="verifying", unit="shard"
    ):
        faults += fault
    return faults


def _files(store: Store, manifest: Manifest) -> Iterator[Fault]:
    """Files that should be there and are not, and the other way round."""
    wanted = {MANIFEST}
    for split in manifest.splits.values():
        wanted.add(split.table)
        wanted.update(name for shard in split.shards for name in (shard.name, shard.index))
        listed = sum(shard.samples for shard in split.shards)
        if listed != split.samples:
            yield Fault(
                MANIFEST, "", f"{split.samples} samples, but {listed} in the shards it lists"
            )
    there = set(store.names())
    for name in sorted(wanted - there):
        yield Fault(name, "", "missing; upload it again or rebuild the shard set")
    for name in sorted(there - wanted):
        yield Fault(name, "", "not in the manifest; delete it")


def _contents(
    store: Store, manifest: Manifest, missing: set[str], keys: dict[str, str]
) -> Iterator[list[Fault]]:
    """The faults of each shard, those of a split's table with its first shard."""
    for name, split in manifest.splits.items():
        table, faults = _table(store, manifest, split, missing)
        if table is not None:
            faults += _twins(table, split.table, name, keys)
        row = 0
        for shard in split.shards:
            if shard.name not in missing:
                faults += _shard(store, manifest, shard, table, row, missing)
            row += shard.samples
            yield faults
            faults = []
        if faults:
            yield faults


def _table(
    store: Store, manifest: Manifest, split: SplitInfo, missing: set[str]
) -> tuple[LabelTable | None, list[Fault]]:
    if split.table in missing:
        return None, []
    content = store.read(split.table)
    faults = list(_digest(split.table, content, split.table_sha256))
    try:
        table = read_table(content, labels=len(manifest.labels), name=split.table)
    except ShardError as error:
        return None, [*faults, Fault(split.table, "", str(error))]
    if len(table) != split.samples:
        faults.append(
            Fault(split.table, "", f"{len(table)} rows, the manifest says {split.samples}")
        )
    return table, faults


def _twins(table: LabelTable, file: str, split: str, keys: dict[str, str]) -> Iterator[Fault]:
    """Samples that an earlier split has too: a test photo among the training ones."""
    for key in table.keys:
        if key in keys:
            yield Fault(file, key, f"also in split {keys[key]!r}")
        keys.setdefault(key, split)


def _digest(file: str, content: bytes | Path, wanted: str) -> Iterator[Fault]:
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


def _shard(
    store: Store,
    manifest: Manifest,
    shard: ShardInfo,
    table: LabelTable | None,
    first_row: int,
    missing: set[str],
) -> list[Fault]:
    """Everything about one tar and its index; one tar at a time is on the local disk."""
    faults: list[Fault] = []
    with tempfile.TemporaryDirectory(prefix="retdm-verify-") as folder:
        path = Path(folder, "shard.tar")
        store.download(shard.name, path)
        size = path.stat().st_size
        if size != shard.bytes:
            faults.append(Fault(shard.name, "", f"{size} bytes, the manifest says {shard.bytes}"))
        faults += _digest(shard.name, path, shard.sha256)
        members: list[tuple[Member, ...]] = []
        try:
            for key, files in read_samples(path):
                row = first_row + len(members)
                faults += _sample(shard, manifest, key, files, table, row)
                members.append(tuple(member for member, _ in files.values()))
        except (tarfile.TarError, EOFError) as error:
            faults.append(Fault(shard.name, "", f"damaged behind sample {len(members)}: {error}"))
    if len(members) != shard.samples:
        faults.append(
            Fault(shard.name, "", f"{len(members)} samples, the manifest says {shard.samples}")
        )
    if shard.index not in missing:
        faults += _index(store, shard, members)
    return faults


def _index(store: Store, shard: ShardInfo, members: list[tuple[Member, ...]]) -> list[Fault]:
    content = store.read(shard.index)
    faults = list(_digest(shard.index, content, shard.index_sha256))
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
    shard: ShardInfo,
    manifest: Manifest,
    key: str,
    files: dict[str, tuple[Member, bytes]],
    table: LabelTable | None,
    row: int,
) -> Iterator[Fault]:
    """Compare one sample of a tar with its row of the label table."""
    images = [ext for ext in files if ext in STORED.values()]
    if len(images) != 1 or "json" not in files or len(files) != 2:
        yield Fault(shard.name, key, f"has {sorted(files)}, wanted one jpg or png and one json")
        return
    (member, image), (_, text) = files[images[0]], files["json"]
    try:
        described = json.loads(text)
        labels, names = described["label_ids"], described["labels"]
        known = [manifest.labels.index(name) for name in names]
    except (ValueError, KeyError, TypeError):
        yield Fault(shard.name, key, "its json has no label_ids and labels of this label space")
        return
    if labels != known:
        yield Fault(shard.name, key, f"label_ids {labels} are not the labels {names}")
    if table is None or row >= len(table):
        return
    if key != table.keys[row]:
        yield Fault(shard.name, key, f"the label table has {table.keys[row]!r} in this place")
        return
    columns = np.flatnonzero(table.targets[row]).tolist()
    if labels != columns:
        yield Fault(shard.name, key, f"labels {labels}, the label table says {columns}")
    if (member.offset, member.size) != (table.offsets[row], table.sizes[row]):
        yield Fault(
            shard.name,
            key,
            f"the image is {member.size} bytes at {member.offset}, the label table says "
            f"{table.sizes[row]} at {table.offsets[row]}",
        )
    if hashlib.sha256(image).digest() != table.digest(row):
        yield Fault(shard.name, key, "the image is not the one of the label table (sha256)")
    try:
        size = Image.open(io.BytesIO(image)).size
    except DAMAGE as error:
        yield Fault(shard.name, key, f"the image cannot be opened ({type(error).__name__})")
        return
    if size != (table.widths[row], table.heights[row]):
        listed = f"{table.widths[row]}x{table.heights[row]}"
        yield Fault(shard.name, key, f"{size[0]}x{size[1]} pixels, the label table says {listed}")
