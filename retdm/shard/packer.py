"""The tars, indexes and label table of one split, written one after the other."""

import hashlib
import tempfile
from pathlib import Path

from retdm.data.index import format_index
from retdm.data.manifest import ShardInfo, SplitInfo
from retdm.data.table import table_bytes
from retdm.datasets import Record
from retdm.shard.photo import Photo
from retdm.shard.spec import TarOptions
from retdm.shard.tar import TarShard, description, read_members, size_in_tar
from retdm.storage import Store


class Packer:
    """Fills the tars of one split and sends each off as soon as it is full.

    A context manager: leaving it removes what is on the local disk.
    """

    def __init__(
        self, store: Store, split: str, limits: TarOptions, labels: tuple[str, ...]
    ) -> None:
        self.store, self.split, self.limits, self.labels = store, split, limits, labels
        self.folder = tempfile.TemporaryDirectory(prefix="retdm-shard-")
        self.shards: list[ShardInfo] = []
        self.records: list[Record] = []
        self.photos: list[tuple[str, int, int]] = []
        self.places: list[tuple[int, int]] = []
        self.open: TarShard | None = None

    def add(self, record: Record, photo: Photo) -> None:
        """Append a photo, in a new tar if the current one would get too large."""
        text = description(record.key, record.labels, self.labels)
        size = size_in_tar(photo.content, text)
        tar = self.open
        if tar and (tar.bytes + size > self.limits.bytes or tar.samples >= self.limits.samples):
            self._send(tar)
            tar = None
        if tar is None:
            tar = self.open = TarShard(Path(self.folder.name, f"{len(self.shards):06d}.tar"))
        tar.add(record.key, photo, text)
        self.records.append(record)
        digest = hashlib.sha256(photo.content).hexdigest()
        self.photos.append((digest, photo.width, photo.height))

    def _send(self, tar: TarShard) -> None:
        tar.close()
        samples = read_members(tar.path)
        index = format_index(samples)
        images = [next(m for m in sample if m.ext != "json") for sample in samples]
        self.places += [(image.offset, image.size) for image in images]
        with tar.path.open("rb") as file:
            digest = hashlib.file_digest(file, "sha256").hexdigest()
        info = ShardInfo(
            name=f"{self.split}/{tar.path.name}",
            samples=tar.samples,
            bytes=tar.path.stat().st_size,
            sha256=digest,
            index_sha256=hashlib.sha256(index).hexdigest(),
        )
        self.store.write(info.name, tar.path)
        self.store.write(info.index, index)
        tar.path.unlink()
        self.shards.append(info)
        self.open = None

    def finish(self) -> tuple[SplitInfo, bytes]:
        """Send the last tar; returns the split's entry and its label table, not yet written."""
        if self.open:
            self._send(self.open)
        content = table_bytes(
            [record.key for record in self.records],
            [record.labels for record in self.records],
            [digest for digest, _, _ in self.photos],
            [width for _, width, _ in self.photos],
            [height for _, _, height in self.photos],
            [offset for offset, _ in self.places],
            [size for _, size in self.places],
        )
        info = SplitInfo(
            samples=len(self.records),
            table=f"{self.split}/labels.parquet",
            table_sha256=hashlib.sha256(content).hexdigest(),
            shards=tuple(self.shards),
        )
        return info, content

    def __enter__(self) -> "Packer":
        return self

    def __exit__(self, *_: object) -> None:
        if self.open:
            self.open.close()
        self.folder.cleanup()
