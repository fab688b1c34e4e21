"""Builds a shard set: tars, indexes, label tables and, at last, the manifest.

The manifest makes the set exist, so an interrupted build leaves none; the next build to the same
place takes over the tars that were finished (see `unfinished`).
"""

import contextlib
import hashlib
import json
import logging
from collections.abc import Generator, Iterator, Mapping, Sequence
from pathlib import Path

from retdm.claims import Claim, rivals
from retdm.config import Settings
from retdm.console import progress
from retdm.data.manifest import MANIFEST, Manifest, load_manifest
from retdm.datasets import assign_splits, read_dataset
from retdm.errors import ConfigError, DatasetError, ShardError, StorageError
from retdm.shard.afar import pack_on_ray
from retdm.shard.claim import claim
from retdm.shard.crew import useful_workers, work_through
from retdm.shard.destination import BEGUN, DONE, begin, check_destination, files, take_over
from retdm.shard.layout import ShardJob, lay_out
from retdm.shard.packer import BadPhotos, PackTask, pack
from retdm.shard.publish import describe, publish
from retdm.shard.spec import ShardSpec
from retdm.shard.unfinished import (
    FOLDER,
    PackedShard,
    delete_all,
    is_record,
    on_behalf_of,
)
from retdm.storage import Store, open_store

_log = logging.getLogger(__name__)
_SHOWN = 20


def build(
    spec: ShardSpec,
    options: Settings,
    *,
    source: Path,
    out: str,
    overwrite: bool = False,
    workers: int | None = 1,
    ray: str | None = None,
) -> Manifest:
    """Pack the data set under `source` into a shard set at the URL `out`.

    Equal source and spec give equal bytes, whatever the number of processes and however often
    the build was broken off. All bad photos are reported together, and then nothing is left.

    Args:
        spec: From `load_spec`.
        options: Of the reader, from `load_spec`.
        source: Folder of the data set.
        out: Folder or s3:// URL, empty, or holding what an interrupted build left.
        overwrite: Replace a finished shard set at `out`, or another build's tars.
        workers: Processes that pack; None: as many as there are cores, fewer for little data.
        ray: Address of a Ray cluster that packs instead ("auto": the one that is found).

    Returns:
        The manifest, published.

    Raises:
        ConfigError: If `out` holds a finished shard set, an interrupted build of another spec or
            source, or files of another kind; or another build writes there.
        DatasetError: If the source is not as it should be.
        StorageError: If `out` cannot be read or written.
    """
    store = open_store(out)
    check_destination(store, store.names(), overwrite=overwrite)
    dataset = read_dataset(spec.reader, options, source)
    labels = dataset.labels.names
    if any(f"{record.split}/" == FOLDER for record in dataset.records):
        raise DatasetError(f'split "{FOLDER[:-1]}" has a name that builds need; rename it')
    jobs = lay_out(assign_splits(dataset.records, spec.split), spec, labels)
    with claim(store) as held, _can_go_on(store):
        names = files(store)
        manifest = _published(store, names, spec, jobs)
        if manifest is None:
            # A mark of another build's end does not excuse its manifest.
            check_destination(store, [name for name in names if name != DONE], overwrite=overwrite)
            wanted = {"source": str(source.absolute()), **spec.model_dump(mode="json")}
            begin(store, names, wanted, overwrite=overwrite)
            packed = take_over(store, names, jobs)
            try:
                packed |= _pack(held, spec, labels, jobs, packed, source, workers, ray)
            except DatasetError:
                delete_all(store, (name for name in files(store) if name != BEGUN))
                store.delete(BEGUN)
                raise
            with on_behalf_of(store, MANIFEST):
                manifest = _publish(held, spec, labels, jobs, packed)
        delete_all(store, filter(is_record, files(store)))
        store.delete(BEGUN)
        store.delete(DONE)
    return manifest


@contextlib.contextmanager
def _can_go_on(store: Store) -> Iterator[None]:
    """Say of an end in the middle that the work is not lost."""
    try:
        yield
    except KeyboardInterrupt:
        _log.info("%s: finished tars are kept; run the same again to go on", store.url)
        raise
    except StorageError as error:
        raise type(error)(
            f"{error}; then run the same command again: finished tars are kept"
        ) from error


def _fingerprint(spec: ShardSpec, jobs: Sequence[ShardJob]) -> str:
    text = json.dumps([spec.model_dump(mode="json"), *(job.fingerprint for job in jobs)])
    return hashlib.sha256(text.encode()).hexdigest()


def _published(
    store: Store, names: Sequence[str], spec: ShardSpec, jobs: Sequence[ShardJob]
) -> Manifest | None:
    """The manifest, if a build of the same was broken off behind it, before the clean-up."""
    if MANIFEST not in names or DONE not in names:
        return None
    try:
        manifest = load_manifest(store)
    except ShardError:
        # Damaged: whoever looks for a set there is told, and --overwrite replaces it.
        return None
    done = {"build": _fingerprint(spec, jobs), "manifest": manifest.digest}
    return manifest if store.read(DONE) == json.dumps(done).encode() else None


def _pack(
    held: Claim,
    spec: ShardSpec,
    labels: tuple[str, ...],
    jobs: Sequence[ShardJob],
    have: Mapping[str, PackedShard],
    source: Path,
    workers: int | None,
    ray: str | None,
) -> dict[str, PackedShard]:
    """Pack the tars that are missing; returns them by name.

    Raises:
        DatasetError: If photos are bad; names all of them.
    """
    missing = [job for job in jobs if job.name not in have]
    bad: dict[str, list[str]] = {}
    packed: dict[str, PackedShard] = {}

    def tasks() -> Iterator[PackTask]:
        for job in missing:
            yield PackTask(job, held, labels, spec.resize, spec.check, write=not bad)

    def photos() -> Generator[None, None, None]:
        events: Generator[PackedShard | BadPhotos | None, None, None]
        if ray is None:
            size = sum(sum(job.source_sizes) for job in missing)
            processes = useful_workers(workers, len(missing), size)
            events = work_through(pack, tasks(), workers=processes)
        else:
            events = pack_on_ray(tasks(), source=source, held=held, address=ray)
        with contextlib.closing(events):
            for event in events:
                if event is None:
                    yield None
                elif isinstance(event, PackedShard):
                    packed[event.shard.name] = event
                elif event.lines:
                    bad[event.job.name] = event.lines

    if missing:
        total = sum(len(job.records) for job in missing)
        with contextlib.closing(photos()) as steps:
            for _ in progress(steps, total=total, label="packing", unit="photo"):
                pass
    if bad:
        lines = [line for job in missing for line in bad.get(job.name, [])]
        raise DatasetError(_summary(lines))
    return packed


def _publish(
    held: Claim,
    spec: ShardSpec,
    labels: tuple[str, ...],
    jobs: Sequence[ShardJob],
    packed: dict[str, PackedShard],
) -> Manifest:
    store = held.store
    splits = {
        job.split: [packed[one.name] for one in jobs if one.split == job.split] for job in jobs
    }
    manifest, tables = describe(
        name=spec.name, labels=labels, splits=splits, source=spec.model_dump(mode="json")
    )
    held.check()
    if others := rivals(held):
        # Whose tar lies at which name nobody knows now, so no record may be trusted.
        delete_all(store, filter(is_record, files(store)))
        raise ConfigError(
            f"--out {store.url}: another build writes there too ({', '.join(others)}), which the "
            "storage did not show in time; nothing is published: end both and run one again"
        )
    done = {"build": _fingerprint(spec, jobs), "manifest": manifest.digest}
    store.write(DONE, json.dumps(done).encode())
    publish(store, manifest, tables)
    return manifest


def _summary(faults: list[str]) -> str:
    if len(faults) == 1:
        return faults[0]
    lines = [f"{len(faults)} photos cannot be packed:", *faults[:_SHOWN]]
    if len(faults) > _SHOWN:
        lines.append(f"and {len(faults) - _SHOWN} more")
    return "\n  ".join(lines)
