"""What `run.json` says of a run, and whether a run of that name may be begun or go on."""

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel

from retdm.config import Config
from retdm.data.manifest import Manifest
from retdm.errors import CheckpointError, ConfigError
from retdm.labels import LabelSpace
from retdm.methods import Method
from retdm.onray.workers import Workers
from retdm.storage import Store
from retdm.train.checkpoint import check_labels, check_reading, check_settings, flatten
from retdm.train.history import reached
from retdm.train.result import RESULT
from retdm.train.run_file import read_checked

RUN, SEARCH = "run.json", "tune.json"
"""What makes a folder that of a run, or of a search."""
_WHAT = "the record of a run"
Resume = Literal["auto", "never", "must"]


def run_record(config: Config, manifest: Manifest, method: Method) -> dict[str, Any]:
    """What is to be kept of a run: its settings, its data, and the readings of its method."""
    return {
        "config": config.model_dump(mode="json"),
        "labels": list(manifest.labels),
        "data_digest": manifest.digest,
        "reading": method.reading,
    }


def with_micro_batches(config: Config, store: Store, workers: Workers) -> Config:
    """Settle how many micro-batches a run has, which it keeps when its workers change.

    Args:
        config: What it says of them comes first, then what the run has done so far.
        store: The run's folder.
        workers: As many as a range may grow to, if nothing says more.

    Raises:
        ConfigError: If workers would have nothing to do.
    """
    total = config.run.micro_batches
    if not total and reached(store)[0] and store.size(RUN) is not None:
        before = flatten(read_checked(store, RUN, _Record, what=_WHAT)["config"])
        # Earlier versions of retdm did not write it.
        if isinstance(earlier := before.get("run.micro_batches"), int):
            total = earlier
    if not total and workers.low < workers.high:
        total = workers.high
    if total and total < workers.high:
        raise ConfigError(
            f"--workers: {workers.high} workers cannot share {total} micro-batches, the number "
            f"that the run has; ask for {total} at most, or set run.micro_batches higher"
        )
    run = config.run.model_copy(update={"micro_batches": total})
    return config.model_copy(update={"run": run})


def is_finished(store: Store, record: Mapping[str, Any], resume: Resume) -> bool:
    """Check what there is of a run against what is to be.

    Args:
        store: The run's folder.
        record: See `run_record`.
        resume: What to do about an earlier run.

    Returns:
        True if there is nothing left to do.

    Raises:
        CheckpointError: If `resume` forbids or misses an earlier run, or it differs.
    """
    if store.size(SEARCH) is not None:
        raise CheckpointError(
            f"{store.url}: a search of this name exists; choose another --run-name for a run"
        )
    earlier = store.size(RUN) is not None
    if earlier and resume == "never":
        raise CheckpointError(
            f"{store.url}: a run of this name exists; choose another --run-name, "
            "or continue it with --resume auto"
        )
    if not earlier and resume == "must":
        raise CheckpointError(
            f"{store.url}: no run of this name to resume; check --storage and --run-name, "
            "or start it with --resume auto"
        )
    stage, epoch = reached(store)
    # Before the first checkpoint nothing depends on the settings yet: a wrong one can be mended.
    if not earlier or not stage:
        return False
    before = read_checked(store, RUN, _Record, what=_WHAT)
    settings, run = record["config"], store.url
    then, now = (LabelSpace(tuple(one["labels"])) for one in (before, record))
    check_labels(then, now, what="the run", data=settings["data"]["url"])
    if before["data_digest"] != record["data_digest"]:
        raise CheckpointError(
            f"{run}: the run was trained on shard set {before['data_digest'][:12]}, "
            f"{settings['data']['url']} now holds {record['data_digest'][:12]}; use the same "
            "shards or another --run-name"
        )
    check_settings(before["config"], settings, stage=stage, epoch=epoch, run=run)
    if store.size(RESULT) is not None:
        # Not those of `run.json`: a run that was given more epochs may have died since.
        done = stored_result(store)["config"]
        if _epochs(done) == _epochs(settings):
            return True
    reading = record["reading"]
    check_reading(reading_of(before, reading), reading, run=run, state="begun")
    return False


def prepare(store: Store, record: Mapping[str, Any], resume: Resume) -> bool:
    """As `is_finished`; and if there is something left to do, note what is to be."""
    finished = is_finished(store, record, resume)
    if not finished:
        store.write(RUN, json.dumps(record, indent=1).encode() + b"\n")
    return finished


def reading_of(record: Mapping[str, Any], otherwise: Mapping[str, str]) -> Mapping[str, str]:
    """What a `run.json` says of the readings; earlier versions of retdm did not write them."""
    reading: Mapping[str, str] = record.get("reading", otherwise)
    return reading


def stored_settings(store: Store) -> dict[str, Any]:
    """The run's `run.json`, as far as its settings and readings go.

    Raises:
        CheckpointError: If it is not one.
    """
    return read_checked(store, RUN, _Settings, what=_WHAT)


def stored_result(store: Store) -> dict[str, Any]:
    """The run's `result.json`; what it does not say of settings and readings is empty.

    Raises:
        CheckpointError: If it is not one.
    """
    found = read_checked(store, RESULT, _Result, what="the result of a run")
    return {"config": {}, "reading": {}, **found}


class _Config(BaseModel):
    stages: dict[str, Any] = {}


class _Result(BaseModel):
    config: _Config = _Config()
    reading: dict[str, str] = {}


class _Settings(BaseModel):
    config: dict[str, Any]
    reading: dict[str, str] = {}


class _Record(_Settings):
    labels: list[str]
    data_digest: str


def _epochs(settings: Mapping[str, Any]) -> dict[str, Any]:
    stages = flatten(settings.get("stages", {}))
    return {name: value for name, value in stages.items() if name.endswith(".epochs")}
