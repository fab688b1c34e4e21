"""What lies at a build's destination: nothing, an interrupted build, or foreign files."""

import json
import logging
import re
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from retdm.console import counted
from retdm.data.manifest import MANIFEST
from retdm.errors import ConfigError
from retdm.shard.claim import is_claim
from retdm.shard.layout import ShardJob
from retdm.shard.unfinished import (
    FOLDER,
    PackedShard,
    delete_all,
    finished,
    is_record,
    record_name,
)
from retdm.storage import Store
from retdm.storage.file import FileStore
from retdm.storage.place import refuse_file

_log = logging.getLogger(__name__)
_OURS = re.compile(r"[A-Za-z0-9_-]+/([0-9]{6,}\.(tar|idx)|labels\.parquet)|manifest\.json")
# Not by parsing it: a manifest that is damaged or of another format may be replaced, too.
_ADOPTED = re.compile(rb'"source":\s*\{\s*"adopted":\s*\{')
_NAMED = 3
BEGUN = f"{FOLDER}begun"
"""Written before the first tar, with what is built: without it, tars that have no manifest are
somebody else's."""
DONE = f"{FOLDER}done.json"
"""Written before the manifest, deleted after the records: with a manifest beside it, only the
clean-up is left to do."""


def files(store: Store) -> list[str]:
    """All files there but locks and claims."""
    return [name for name in store.names() if not is_claim(name)]


def check_destination(store: Store, names: Sequence[str], *, overwrite: bool) -> None:
    """Refuse a place that holds anything but what an interrupted build left.

    Raises:
        ConfigError: Names what is there.
    """
    refuse_file(store, given=f"--out {store.url}")
    foreign = [name for name in names if not (_OURS.fullmatch(name) or _is_unfinished(name))]
    if foreign:
        raise ConfigError(
            f"--out {store.url} holds {foreign[0]!r}, which is not part of a shard set; "
            "choose an empty folder or prefix"
        )
    if MANIFEST in names and DONE not in names and not overwrite:
        raise ConfigError(
            f"--out {store.url} holds a finished shard set; choose another place, or pass "
            "--overwrite to replace it"
        )
    if MANIFEST in names and _ADOPTED.search(store.read(MANIFEST)):
        raise ConfigError(
            f"--out {store.url} holds an adopted shard set, whose tars are somebody's originals; "
            "choose another place"
        )
    tars = [name for name in names if _OURS.fullmatch(name)]
    if tars and not overwrite and not {MANIFEST, BEGUN}.intersection(names):
        raise ConfigError(
            f"--out {store.url} holds {tars[0]!r}, but neither a manifest nor what an interrupted "
            "build leaves; choose another place, make a shard set of it by `python -m retdm.shard "
            "adopt`, or pass --overwrite to remove it"
        )


def _is_unfinished(name: str) -> bool:
    return is_record(name) or is_claim(name) or name in (BEGUN, DONE)


def begin(
    store: Store, names: Sequence[str], wanted: Mapping[str, Any], *, overwrite: bool
) -> None:
    """Note what is built here, unless an interrupted build of something else has finished tars.

    Args:
        store: The destination.
        names: The files there.
        wanted: The settings of this build.
        overwrite: Those tars may go.

    Raises:
        ConfigError: Names the settings that differ.
    """
    kept = sum(map(is_record, names))
    if kept and BEGUN in names and not overwrite:
        differ = list(_differences(_noted(store), wanted))
        if differ:
            more = f"; {len(differ) - _NAMED} more" if len(differ) > _NAMED else ""
            raise ConfigError(
                f"--out {store.url} holds an interrupted build of something else "
                f"({'; '.join(differ[:_NAMED])}{more}), with "
                f"{counted(kept, 'finished tar')}; run that one again to finish it, choose "
                "another --out, or pass --overwrite to give its tars up"
            )
    store.write(BEGUN, json.dumps(wanted).encode())


def _noted(store: Store) -> Mapping[str, Any] | None:
    """What the interrupted build wanted; None if nobody knows."""
    try:
        noted = json.loads(store.read(BEGUN))
    except ValueError:
        return None
    return noted if isinstance(noted, dict) else None


def _differences(
    had: Mapping[str, Any] | None, wanted: Mapping[str, Any], at: str = ""
) -> Iterator[str]:
    """Settings that are others than they were, with both values."""
    if had is None:
        return
    for key in [*wanted, *(key for key in had if key not in wanted)]:
        before, now = had.get(key), wanted.get(key)
        if isinstance(before, dict) and isinstance(now, dict):
            yield from _differences(before, now, f"{at}{key}.")
        elif before != now:
            yield f"{at}{key} was {json.dumps(before)}, now it is {json.dumps(now)}"


def take_over(
    store: Store, names: Sequence[str], jobs: Sequence[ShardJob]
) -> dict[str, PackedShard]:
    """The finished tars of an interrupted build, by name; everything else is removed."""
    packed = finished(store, names, jobs)
    stale = sum(map(is_record, names)) - len(packed)
    keep = {BEGUN} | {record_name(job) for job in jobs if job.name in packed}
    keep |= {name for one in packed.values() for name in (one.shard.name, one.shard.index)}
    store.delete(MANIFEST)
    delete_all(store, (name for name in names if name not in keep))
    if isinstance(store, FileStore):
        store.sweep()
    if names:
        _log.info("%s: %d of %d tars are finished already", store.url, len(packed), len(jobs))
    if stale:
        _log.info(
            "%s: tars packed anew, as photos, labels, check or versions have changed since: %d",
            *(store.url, stale),
        )
    return packed
