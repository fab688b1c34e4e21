"""What a build keeps beside the tars until it is finished: a record of each finished tar.

The records lie in `_build/` of the destination, where readers and `verify` do not look. A record
is written behind its tar and index, so where it stands these are whole; a build that was broken
off goes on from the records.
"""

import re
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

from pydantic import BaseModel, ConfigDict, ValidationError

from retdm.data.manifest import ShardInfo
from retdm.errors import TransientStorageError
from retdm.shard.layout import ShardJob
from retdm.storage import Store

FOLDER = "_build/"
_RECORD = re.compile(r"_build/.+-[0-9]{6,}\.json")
_AT_ONCE = 16


class Rows(BaseModel):
    """The label table's columns for the samples of one tar, in the order of the tar."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    keys: list[str]
    labels: list[list[int]]
    sha256: list[str]
    """Of the stored image bytes, hex."""
    widths: list[int]
    heights: list[int]
    offsets: list[int]
    """Of the image's bytes in the tar."""
    sizes: list[int]


class PackedShard(BaseModel):
    """A tar that is at its place with its index, and what the label table will say of it."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    shard: ShardInfo
    rows: Rows


class _Record(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")

    fingerprint: str
    packed: PackedShard


def is_record(name: str) -> bool:
    """Whether a file of the destination is a record."""
    return _RECORD.fullmatch(name) is not None


def record_name(job: ShardJob) -> str:
    """Name of a tar's record."""
    return f"{FOLDER}{job.split}-{job.number:06d}.json"


def write_record(store: Store, job: ShardJob, packed: PackedShard) -> None:
    """Note that a tar and its index are whole and at their place."""
    record = _Record(fingerprint=job.fingerprint, packed=packed)
    store.write(record_name(job), record.model_dump_json().encode())


def finished(
    store: Store, names: Iterable[str], jobs: Iterable[ShardJob]
) -> dict[str, PackedShard]:
    """The tars, by name, that an earlier build finished and that still are what is wanted.

    Args:
        store: The destination.
        names: The files there.
        jobs: The tars of this build.
    """
    there = set(names)

    def look(job: ShardJob) -> PackedShard | None:
        try:
            record = _Record.model_validate_json(store.read(record_name(job)))
        except ValidationError:
            return None
        shard = record.packed.shard
        fits = record.fingerprint == job.fingerprint and shard.name == job.name
        if fits and shard.index in there and store.size(shard.name) == shard.bytes:
            return record.packed
        return None

    recorded = [job for job in jobs if record_name(job) in there]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        found = list(threads.map(look, recorded))
    return {packed.shard.name: packed for packed in found if packed}


@contextmanager
def on_behalf_of(store: Store, name: str) -> Iterator[None]:
    """Where a file in `_build/` cannot be reached, report the file it was needed for."""
    ours = f"{store.url}/{FOLDER}"
    try:
        yield
    except TransientStorageError as error:
        if not str(error).startswith(ours):
            raise
        what = str(error).removeprefix(ours).partition(": ")[2]
        raise TransientStorageError(f"{store.url}/{name}: {what}") from error


def delete_all(store: Store, names: Iterable[str]) -> None:
    """Remove files, many at a time."""
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        for _ in threads.map(store.delete, names):
            pass
