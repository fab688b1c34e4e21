"""One split of a shard set, opened: what is in it and where each image lies."""

from dataclasses import dataclass
from functools import cached_property
from hashlib import sha256

import numpy as np
import numpy.typing as npt

from retdm.data.manifest import Manifest, SplitInfo, load_manifest
from retdm.data.table import LabelTable, read_table
from retdm.data.verified import read_verified
from retdm.errors import NotFoundError, ShardError
from retdm.labels import LabelSpace
from retdm.storage import Store, open_store


@dataclass(frozen=True, eq=False)
class SplitData:
    """A split's manifest entry and label table; holds no connection."""

    store: Store
    split: str
    manifest: Manifest
    table: LabelTable

    def __len__(self) -> int:
        """Number of samples."""
        return len(self.table)

    @property
    def url(self) -> str:
        """Of the shard set."""
        return self.store.url

    @property
    def info(self) -> SplitInfo:
        """The split's entry in the manifest."""
        return self.manifest.splits[self.split]

    @property
    def shard_sizes(self) -> list[int]:
        """Samples of each shard, in order."""
        return [shard.samples for shard in self.info.shards]

    @cached_property
    def shard_numbers(self) -> npt.NDArray[np.int32]:
        """Of each row: the shard that holds its image."""
        return np.repeat(np.arange(len(self.info.shards), dtype=np.int32), self.shard_sizes)

    @property
    def label_space(self) -> LabelSpace:
        """The labels in column order."""
        return self.manifest.label_space

    @cached_property
    def digest(self) -> str:
        """SHA-256 of the manifest, which names the whole shard set."""
        return self.manifest.digest


def open_split(url: str, split: str) -> SplitData:
    """Read manifest and label table, and check that they belong together.

    Raises:
        ShardError: If any of them is missing, damaged, or disagrees with the others.
        StorageError: If the storage cannot be read.
    """
    store = open_store(url)
    manifest = load_manifest(store)
    info = manifest.split(split, url=store.url)
    where = f"{store.url}/{info.table}"
    table = _read_table(store, info, labels=len(manifest.labels), where=where)
    if len(table) != info.samples or sum(s.samples for s in info.shards) != info.samples:
        raise ShardError(
            f"{where}: {len(table)} rows, the manifest says {info.samples} samples in shards of "
            f"{[shard.samples for shard in info.shards]}; rebuild the shard set"
        )
    _check_places(table, info, where)
    return SplitData(store, split, manifest, table)


def _check_places(table: LabelTable, info: SplitInfo, where: str) -> None:
    """Every image lies within its tar."""
    sizes, counts = [s.bytes for s in info.shards], [s.samples for s in info.shards]
    ends = np.repeat(np.array(sizes, dtype=np.int64), counts)
    outside = table.sizes > ends - table.offsets  # their sum could be too large for 64 bits
    if outside.any():
        row = int(outside.argmax())
        raise ShardError(
            f"{where}: the image of sample {table.keys[row]!r} ends at byte "
            f"{int(table.offsets[row]) + int(table.sizes[row])} of a tar of {ends[row]} bytes; "
            "rebuild the shard set"
        )


def _read_table(store: Store, info: SplitInfo, *, labels: int, where: str) -> LabelTable:
    def check(content: bytes) -> bytes:
        found = sha256(content).hexdigest()
        if found != info.table_sha256:
            raise ShardError(
                f"{where}: sha256 is {found}, the manifest says {info.table_sha256}; upload it "
                "again or rebuild the shard set"
            )
        return content

    try:
        content = read_verified(store, info.table, check)
    except NotFoundError:
        raise ShardError(
            f"{where}: missing, though the manifest lists it; upload it again or rebuild the "
            "shard set"
        ) from None
    return read_table(content, labels=labels, name=where)
