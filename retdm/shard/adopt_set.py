"""Makes a shard set of tars that others wrote, without changing one byte of them.

Every tar is read and checked; then offset indexes, label tables and the manifest are written
beside. Nothing is written before all of it is known to be sound.
"""

from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from pathlib import PurePosixPath

from retdm.console import ByteBar, counted
from retdm.data.manifest import MANIFEST, Manifest, load_manifest
from retdm.errors import ConfigError, DatasetError, ShardError
from retdm.labels import LabelSpace
from retdm.shard.adopt_rules import AdoptRules
from retdm.shard.adopt_scan import STEP_BYTES, ScannedTar, ScanTask, scan
from retdm.shard.adopt_splits import tars_of_splits
from retdm.shard.claim import claim, is_claim
from retdm.shard.crew import useful_workers, work_through
from retdm.shard.fault import Fault
from retdm.shard.publish import describe, publish
from retdm.shard.unfinished import PackedShard, delete_all
from retdm.storage import Store, open_store
from retdm.storage.place import refuse_file

_AT_ONCE = 16
_LONGEST_NUMBER = 18


class FaultyTarsError(DatasetError):
    """Tars that cannot be adopted; `faults` says why, one by one."""

    def __init__(self, message: str, faults: list[Fault]) -> None:
        super().__init__(message)
        self.faults = faults


@dataclass(frozen=True, slots=True)
class Adopted:
    """A set that was adopted."""

    manifest: Manifest
    skipped: list[Fault]
    """Samples that have no row (`skip_faulty`)."""
    unused: list[str]
    """Tars that are in no split, or of which no sample has a row."""


def adopt(
    url: str,
    rules: AdoptRules,
    *,
    name: str = "",
    splits: Sequence[str] = (),
    names: Sequence[str] | None = None,
    overwrite: bool = False,
    workers: int | None = 1,
) -> Adopted:
    """Make a shard set of the tars at `url`. Equal tars and arguments give equal bytes.

    Args:
        url: Folder or s3:// URL of the tars.
        rules: How to understand their samples.
        name: Of the data set; "": the last part of the URL.
        splits: "NAME=PATTERN" each; none: see `tars_of_splits`.
        names: The label space; None: all labels there are, sorted.
        overwrite: Replace a manifest and other files that `adopt` writes.
        workers: Processes; None: as many as there are cores, fewer for little data.

    Raises:
        ConfigError: If there is a manifest already, or an argument does not fit the tars.
        FaultyTarsError: If tars or samples are faulty; nothing was written then.
        StorageError: If the place cannot be read or written.
    """
    store = open_store(url)
    if names is not None:
        LabelSpace(tuple(names))  # says now what is wrong with them
    elif rules.form == "multi-hot":
        raise ConfigError("a multi-hot row does not name its labels; name them with --names")
    refuse_file(store, given=url)
    with claim(store):
        there = {name for name in store.names() if not is_claim(name)}
        old = _old_files(store, there, overwrite=overwrite)
        tars, unused = tars_of_splits(sorted(there), splits, url=store.url)
        found = _scan(store, rules, tars, names, workers)
        skipped = _judge(store, rules, list(found.values()))
        labels = LabelSpace(tuple(names) if names is not None else _collected(found.values()))
        used = {split: some for split, tars in tars.items() if (some := _with_rows(found, tars))}
        unused += [tar for tar in found if not found[tar].rows.keys]
        columns = {label: column for column, label in enumerate(labels.names)}
        manifest, tables = describe(
            name=name or PurePosixPath(store.url).name,
            labels=labels.names,
            splits={
                split: [_packed(tar, columns) for tar in some] for split, some in used.items()
            },
            source={"adopted": rules.model_copy(update={"skipped": len(skipped)}).model_dump()},
        )
        indexes = {tar.info.index: tar.index for some in used.values() for tar in some}
        files = {**indexes, **tables}
        if not overwrite:
            _refuse_to_replace(store, there, files)
        store.delete(MANIFEST)
        delete_all(store, old.difference(files))
        with ThreadPoolExecutor(_AT_ONCE) as threads:
            list(threads.map(store.write, indexes, indexes.values()))
        publish(store, manifest, tables)
    return Adopted(manifest, skipped, sorted(unused))


def _scan(
    store: Store,
    rules: AdoptRules,
    splits: Mapping[str, list[str]],
    names: Sequence[str] | None,
    workers: int | None,
) -> dict[str, ScannedTar]:
    """What is in each tar, by name, in the order of the splits."""
    tars = [tar for some in splits.values() for tar in some]
    known = {label: column for column, label in enumerate(names)} if names is not None else None
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        sizes = dict(zip(tars, threads.map(lambda tar: store.size(tar) or 0, tars), strict=True))
    total = sum(sizes.values())
    tasks = [ScanTask(store, tar, rules, known) for tar in tars]
    found: dict[str, ScannedTar] = {}
    steps = 0
    events = work_through(scan, tasks, workers=useful_workers(workers, len(tars), total))
    with closing(events), ByteBar("adopting", total) as bar:
        for event in events:
            if event is None:
                steps += 1
                bar.at(min(steps * STEP_BYTES, total))
            else:
                found[event.name] = event
        bar.at(total)
    return {tar: found[tar] for tar in tars}


def _judge(store: Store, rules: AdoptRules, tars: list[ScannedTar]) -> list[Fault]:
    """The faulty samples, which are left out.

    Raises:
        FaultyTarsError: If there are faults that must not be passed over.
    """
    broken = [tar.broken for tar in tars if tar.broken]
    faulty = [fault for tar in tars for fault in tar.faults]
    twins = _twins(tars)
    remedies = []
    if broken:
        remedies.append("replace broken tars, or leave them out by the patterns of --split")
    if faulty and not rules.skip_faulty:
        remedies.append(
            "see whether --labels and --image are right, or leave faulty samples out "
            "with --skip-faulty"
        )
    if twins:
        remedies.append("make keys that tars share differ with --prefix-keys")
    faults = [*broken, *([] if rules.skip_faulty else faulty), *twins]
    if faults:
        raise FaultyTarsError(
            f"{store.url}: {counted(len(faults), 'fault')}, nothing was written; "
            f"{'; '.join(remedies)}",
            faults,
        )
    if not any(tar.rows.keys for tar in tars):
        raise FaultyTarsError(
            f"{store.url}: no sample is left to adopt; see whether --labels and --image are right",
            faulty,
        )
    return faulty


def _twins(tars: Iterable[ScannedTar]) -> list[Fault]:
    """Keys that an earlier tar has too."""
    first: dict[str, str] = {}
    faults = []
    for tar in tars:
        for key in tar.rows.keys:
            other = first.setdefault(key, tar.name)
            if other != tar.name:
                faults.append(Fault(tar.name, key, f"{other} has a sample of this key too"))
    return faults


def _collected(tars: Iterable[ScannedTar]) -> tuple[str, ...]:
    """All labels that occur, sorted; by number if all are numbers."""
    labels = {label for tar in tars for row in tar.labels for label in row}
    numbers = all(label.isdecimal() and len(label) <= _LONGEST_NUMBER for label in labels)
    return tuple(sorted(labels, key=lambda label: (int(label) if numbers else 0, label)))


def _with_rows(found: Mapping[str, ScannedTar], tars: Iterable[str]) -> list[ScannedTar]:
    return [found[tar] for tar in tars if found[tar].rows.keys]


def _packed(tar: ScannedTar, columns: Mapping[str, int]) -> PackedShard:
    labels = [sorted(columns[label] for label in row) for row in tar.labels]
    return PackedShard(shard=tar.info, rows=tar.rows.model_copy(update={"labels": labels}))


def _old_files(store: Store, there: set[str], *, overwrite: bool) -> set[str]:
    """Tables and indexes of the set that is replaced.

    Raises:
        ConfigError: If it may not be replaced.
    """
    if MANIFEST not in there:
        return set()
    if not overwrite:
        raise ConfigError(
            f"{store.url}: holds a {MANIFEST} already; check it with `python -m retdm.shard "
            f"verify {store.url}`, or pass --overwrite to replace it"
        )
    try:
        splits = load_manifest(store).splits.values()
    except ShardError as error:
        raise ConfigError(f"{error} (or move it away, if it is not of retdm)") from error
    names = {split.table for split in splits}
    names |= {shard.index for split in splits for shard in split.shards}
    return names & there


def _refuse_to_replace(store: Store, there: set[str], files: Mapping[str, bytes]) -> None:
    """Files of others stay; those that a broken off `adopt` of the same left are equal."""
    for name in sorted(there.intersection(files)):
        if store.read(name) != files[name]:
            raise ConfigError(
                f"{store.url}/{name}: is there already and is not what adopt writes; move it "
                "away, or pass --overwrite to replace it"
            )
