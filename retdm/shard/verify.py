"""Reads a whole shard set back and lists everything that is not as the manifest says."""

import contextlib
from collections.abc import Generator, Iterator

from retdm.console import progress
from retdm.data.manifest import MANIFEST, Manifest, SplitInfo, load_manifest
from retdm.data.table import LabelTable, read_table
from retdm.errors import ShardError
from retdm.shard.adopt_rules import adopted_rules
from retdm.shard.crew import useful_workers, work_through
from retdm.shard.fault import Fault
from retdm.shard.local import stored_bytes
from retdm.shard.unfinished import FOLDER
from retdm.shard.verify_tar import TarCheck, check_tar, wrong_digest
from retdm.storage import Store, open_store


def verify(url: str, *, workers: int | None = 1) -> list[Fault]:
    """Check every file, sample, offset, label and digest of a shard set.

    Args:
        url: Folder or s3:// URL.
        workers: Processes; None: as many as there are cores, fewer for little data.

    Returns:
        All faults, in the order of the splits and tars; empty if the set is sound. A damaged
        manifest is the only fault that hides others.

    Raises:
        ShardError: If there is no manifest, and so no set.
        StorageError: If the place cannot be read at all.
    """
    store = open_store(url)
    try:
        manifest = load_manifest(store)
    except ShardError as error:
        if store.size(MANIFEST) is None:
            raise  # there is no set of which this could be a fault
        return [Fault(MANIFEST, "", str(error).removeprefix(f"{store.url}/{MANIFEST}: "))]
    faults = list(_files(store, manifest))
    missing = {fault.file for fault in faults}
    of_split: dict[str, list[Fault]] = {}
    of_tar: dict[str, list[Fault]] = {}
    checks: list[TarCheck] = []
    keys: dict[str, str] = {}
    for name, split in manifest.splits.items():
        table, of_split[name] = _table(store, manifest, split, missing)
        if table is not None:
            of_split[name] += _twins(table, split.table, name, keys)
        checks += _checks(store, manifest, split, table, missing)
    size = sum(check.shard.bytes for check in checks)
    workers = useful_workers(workers, len(checks), size)

    def results() -> Generator[None, None, None]:
        with contextlib.closing(work_through(check_tar, checks, workers=workers)) as events:
            for event in events:
                if event is not None:
                    of_tar[event.name] = event.faults
                    yield None

    with contextlib.closing(results()) as steps:
        for _ in progress(steps, total=len(checks), label="verifying", unit="shard"):
            pass
    for name, split in manifest.splits.items():
        faults += of_split[name]
        for shard in split.shards:
            faults += of_tar.get(shard.name, [])
    return faults


def _checks(
    store: Store,
    manifest: Manifest,
    split: SplitInfo,
    table: LabelTable | None,
    missing: set[str],
) -> Iterator[TarCheck]:
    row, adopted = 0, adopted_rules(manifest)
    for shard in split.shards:
        if shard.name not in missing:
            yield TarCheck(
                store=store,
                shard=shard,
                labels=manifest.labels,
                rows=None if table is None else table.part(row, row + shard.samples),
                has_index=shard.index not in missing,
                adopted=adopted,
            )
        row += shard.samples


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
    there = {name for name in store.names() if not name.startswith(FOLDER)}
    for name in sorted(wanted - there):
        yield Fault(name, "", "missing; upload it again or rebuild the shard set")
    if adopted_rules(manifest) is None:  # or the folder is somebody else's, and all that is in it
        for name in sorted(there - wanted):
            yield Fault(name, "", "not in the manifest; delete it")


def _table(
    store: Store, manifest: Manifest, split: SplitInfo, missing: set[str]
) -> tuple[LabelTable | None, list[Fault]]:
    if split.table in missing:
        return None, []
    content = stored_bytes(store, split.table, sha256=split.table_sha256)
    faults = list(wrong_digest(split.table, content, split.table_sha256))
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
