"""Packs one tar: photos in, tar and index and record out."""

import hashlib
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO, cast

from retdm.claims import Claim
from retdm.data.index import format_index
from retdm.data.manifest import ShardInfo
from retdm.datasets import Record
from retdm.errors import DatasetError, StorageError
from retdm.shard.layout import ShardJob
from retdm.shard.photo import Photo, read_photo
from retdm.shard.spec import Check, ResizeOptions
from retdm.shard.tar import TarShard, description
from retdm.shard.unfinished import PackedShard, Rows, on_behalf_of, write_record
from retdm.storage import Store
from retdm.storage.file import FileStore


@dataclass(frozen=True, slots=True)
class PackTask:
    """A tar to be packed and all that packing it needs; goes to any process of any machine."""

    job: ShardJob
    claim: Claim
    """Of the build, on its destination."""
    labels: tuple[str, ...]
    resize: ResizeOptions
    check: Check
    write: bool
    """False: only look for more bad photos."""


@dataclass(frozen=True, slots=True)
class BadPhotos:
    """Why a tar was not packed: a line for each photo that is wrong."""

    job: ShardJob
    lines: list[str]


def pack(task: PackTask) -> Iterator[PackedShard | BadPhotos | None]:
    """Pack one tar.

    Yields:
        None after each photo; at last what was packed, or what is wrong with the photos. From
        the first bad one on nothing more is written, and the others are only checked.

    Raises:
        StorageError: If the destination cannot be written, or is not this build's any more.
    """
    photos = _photos(task)
    bad: list[str] = []
    if task.write:
        try:
            with on_behalf_of(task.claim.store, task.job.name):
                packed = yield from _write(task, photos)
            yield packed
            return
        except DatasetError as error:
            bad.append(str(error))
            yield None
    for _, photo in photos:
        if isinstance(photo, DatasetError):
            bad.append(str(photo))
        yield None
    yield BadPhotos(task.job, bad)


def _photos(task: PackTask) -> Iterator[tuple[Record, Photo | DatasetError]]:
    """Each record and its photo, or what is wrong with it."""
    for record, size in zip(task.job.records, task.job.source_sizes, strict=True):
        try:
            photo = read_photo(record, task.resize, check=task.check)
        except DatasetError as error:
            yield record, error
            continue
        if not task.resize.short_side and len(photo.content) != size:
            yield (
                record,
                DatasetError(
                    f"{record.where}: photo {record.image} was changed while the build ran "
                    f"({size} bytes, then {len(photo.content)}); run the build again"
                ),
            )
            continue
        yield record, photo


def _write(
    task: PackTask, photos: Iterator[tuple[Record, Photo | DatasetError]]
) -> Generator[None, None, PackedShard]:
    """Write tar, index and record; raises the first bad photo's error and leaves no file."""
    job, store = task.job, task.claim.store
    rows = Rows(keys=[], labels=[], sha256=[], widths=[], heights=[], offsets=[], sizes=[])
    with _file_for(store, job.name) as file:
        tar = TarShard(file)
        for record, photo in photos:
            if isinstance(photo, DatasetError):
                raise photo
            text = description(record.key, record.labels, task.labels)
            place = tar.add(record.key, photo, text)
            rows.keys.append(record.key)
            rows.labels.append(list(record.labels))
            rows.sha256.append(hashlib.sha256(photo.content).hexdigest())
            rows.widths.append(photo.width)
            rows.heights.append(photo.height)
            rows.offsets.append(place.offset)
            rows.sizes.append(place.size)
            yield None
        tar.close()
        task.claim.check()
    index = format_index(tar.members)
    shard = ShardInfo(
        name=job.name,
        samples=len(rows.keys),
        bytes=tar.bytes,
        sha256=tar.sha256,
        index_sha256=hashlib.sha256(index).hexdigest(),
    )
    store.write(shard.index, index)
    packed = PackedShard(shard=shard, rows=rows)
    task.claim.check()
    write_record(store, job, packed)
    return packed


@contextmanager
def _file_for(store: Store, name: str) -> Iterator[BinaryIO]:
    """A file to fill, sent to its place when the block ends without an error."""
    if isinstance(store, FileStore):
        with store.writing(name) as file:
            yield file
        return
    try:
        with tempfile.TemporaryFile(buffering=1 << 20) as file:
            yield cast(BinaryIO, file)
            file.flush()
            # The file has no name, so that a killed build leaves none behind.
            store.write(name, Path(f"/proc/self/fd/{file.fileno()}"))
    except OSError as error:
        raise StorageError(
            f"a tar cannot be written to {tempfile.gettempdir()} ({error.strerror or error}); "
            "free some space there, or set TMPDIR to another folder"
        ) from error
