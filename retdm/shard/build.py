"""Writes a shard set: tars and indexes, then label tables, then the manifest.

The manifest makes the set exist, so an interrupted build leaves none. Files that it did leave
are replaced by the next build to the same place.
"""

import logging
import os
import re
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from pathlib import Path

from retdm.config import Settings
from retdm.console import progress
from retdm.data.manifest import MANIFEST, Manifest, SplitInfo
from retdm.datasets import Record, assign_splits, read_dataset
from retdm.datasets.splits import rank
from retdm.errors import ConfigError, DatasetError
from retdm.shard.packer import Packer
from retdm.shard.photo import Photo, read_photo
from retdm.shard.spec import ResizeOptions, ShardSpec
from retdm.storage import Store, open_store
from retdm.storage.file import FileStore

_log = logging.getLogger(__name__)
_OURS = re.compile(r"[A-Za-z0-9_-]+/([0-9]{6}\.(tar|idx)|labels\.parquet)|manifest\.json")
_SHOWN = 20


def build(
    spec: ShardSpec, options: Settings, *, source: Path, out: str, overwrite: bool = False
) -> Manifest:
    """Pack the data set under `source` into a shard set at the URL `out`.

    Equal source and spec give equal bytes. Photos are checked by decoding them; from the first
    bad one on nothing more is written, and all bad ones are reported together.

    Args:
        spec: From `load_spec`.
        options: Of the reader, from `load_spec`.
        source: Folder of the data set.
        out: Folder or s3:// URL, empty, or holding what an interrupted build left.
        overwrite: Replace a finished shard set at `out`.

    Returns:
        The manifest, published.

    Raises:
        ConfigError: If `out` holds a finished shard set or files of another kind.
        DatasetError: If the source is not as it should be.
        StorageError: If `out` cannot be read or written.
    """
    store = open_store(out)
    leftover = _check_destination(store, overwrite=overwrite)
    dataset = read_dataset(spec.reader, options, source)
    records = assign_splits(dataset.records, spec.split)
    for name in leftover:
        store.delete(name)
    if isinstance(store, FileStore):
        store.sweep()
    try:
        splits, tables = _pack(store, spec, records, dataset.labels.names)
    except (DatasetError, KeyboardInterrupt):
        for name in store.names():
            store.delete(name)
        raise
    for split, content in tables.items():
        store.write(splits[split].table, content)
    manifest = Manifest(
        name=spec.name,
        labels=dataset.labels.names,
        splits=splits,
        source=spec.model_dump(mode="json"),
    )
    store.write(MANIFEST, manifest.to_bytes())
    return manifest


def _pack(
    store: Store, spec: ShardSpec, records: Sequence[Record], labels: tuple[str, ...]
) -> tuple[dict[str, SplitInfo], dict[str, bytes]]:
    """Write all tars; returns the splits' entries and their label tables."""
    splits: dict[str, SplitInfo] = {}
    tables: dict[str, bytes] = {}
    faults: list[str] = []
    for split in _in_order({str(record.split) for record in records}):
        mine = {record.key: record for record in records if record.split == split}
        # Neighbours in a source are often alike (bursts, classes); mixed shards shuffle better.
        order = [mine[key] for key in rank(list(mine), seed=spec.split.seed, purpose="order")]
        photos = progress(
            _photos(order, spec.resize), total=len(order), label=f"packing {split}", unit="photo"
        )
        with Packer(store, split, spec.shards, labels) as packer:
            for record, photo in photos:
                if isinstance(photo, DatasetError):
                    faults.append(str(photo))
                elif not faults:
                    packer.add(record, photo)
            if not faults:
                splits[split], tables[split] = packer.finish()
    if faults:
        raise DatasetError(_summary(faults))
    return splits, tables


def _check_destination(store: Store, *, overwrite: bool) -> list[str]:
    """Files of an earlier build, the manifest first; refuses to touch anything else."""
    names = store.names()
    foreign = [name for name in names if not _OURS.fullmatch(name)]
    if foreign:
        raise ConfigError(
            f"--out {store.url} holds {foreign[0]!r}, which is not part of a shard set; "
            "choose an empty folder or prefix"
        )
    if MANIFEST in names and not overwrite:
        raise ConfigError(
            f"--out {store.url} holds a finished shard set; choose another place, or pass "
            "--overwrite to replace it"
        )
    if names and MANIFEST not in names:
        _log.info("%s: replacing %d files of an interrupted build", store.url, len(names))
    return sorted(names, key=lambda name: name != MANIFEST)


def _in_order(splits: set[str]) -> list[str]:
    usual = [name for name in ("train", "val", "test") if name in splits]
    return usual + sorted(splits.difference(usual))


def _photos(
    records: Sequence[Record], resize: ResizeOptions
) -> Iterator[tuple[Record, Photo | DatasetError]]:
    """Each record and its photo or what is wrong with it, in order.

    Threads suffice, since Pillow lets go of the interpreter lock to decode; the queue is short,
    so memory holds a few photos for each core.
    """

    def attempt(record: Record) -> Photo | DatasetError:
        try:
            return read_photo(record, resize)
        except DatasetError as error:
            return error

    threads = os.cpu_count() or 1
    waiting: deque[tuple[Record, Future[Photo | DatasetError]]] = deque()
    with ThreadPoolExecutor(threads) as pool:
        for record in records:
            waiting.append((record, pool.submit(attempt, record)))
            if len(waiting) > 4 * threads:
                first, future = waiting.popleft()
                yield first, future.result()
        for first, future in waiting:
            yield first, future.result()


def _summary(faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    lines = [f"{len(faults)} photos cannot be packed:", *faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"and {len(faults) - _SHOWN} more")
    return "\n  ".join(lines)
