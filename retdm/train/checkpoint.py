"""Checkpoints: everything that changes during training, in one file that is safe to load.

The file holds tensors and plain values only, so it loads with `weights_only=True` and cannot run
code. Random states are not among them: every draw is keyed by (seed, position), so the position is
the random state.
"""

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from retdm.config import Config
from retdm.data.plan import Position
from retdm.errors import CheckpointError
from retdm.labels import LabelSpace
from retdm.train.archive import load_archive
from retdm.train.content import fault

FOLDER = "checkpoints/"


def file_of(name: str) -> str:
    """Where the checkpoint called `name` lies in the folder of its run."""
    return f"{FOLDER}{name}.pt"


@dataclass(frozen=True)
class Progress:
    """How far training has come."""

    data: Position
    """The next batch; its epoch counts over all stages, so that no order comes twice."""
    stage: str = ""
    """Name of the stage; "" before the first one."""
    epoch: int = 0
    """Epochs of the stage that are done."""
    step: int = 0
    """Steps since the start of the run; skipped ones count."""


@dataclass
class TrainingState:
    """The content of a checkpoint."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    bank: dict[str, Any]
    progress: Progress
    history: list[dict[str, Any]]
    bad_samples: list[dict[str, str]]
    config: dict[str, Any]
    labels: tuple[str, ...]
    skipped_steps: list[dict[str, Any]] = field(default_factory=list)
    """Steps without an update, see `SkippedStep`."""
    tally: dict[str, Any] = field(default_factory=dict)
    """Sums over the steps of an epoch that is not over, see `EpochTally`; empty between epochs."""
    statistics: Tensor | None = None
    """Inside an epoch, whose end averages them: those of each micro-batch, see `MicroBatches`."""
    seconds: dict[str, float] = field(default_factory=dict)
    """Of a mean worker since the run began, by what they went into, see `Clock`."""

    @property
    def label_space(self) -> LabelSpace:
        """The labels the classifier's columns stand for."""
        return LabelSpace(tuple(self.labels))


def save(state: TrainingState, path: Path) -> None:
    """Write the state into the file `path`, whose folder exists."""
    content = {name: getattr(state, name) for name in state.__dataclass_fields__}
    torch.save({**content, "progress": asdict(state.progress)}, path)


def load(path: Path, *, map_location: torch.device | str = "cpu") -> TrainingState:
    """Read a checkpoint without executing anything in it.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds other things than a checkpoint
            does; names the first.
    """
    try:
        content = load_archive(path, map_location=map_location)
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file, so this is not a checkpoint") from None
    except ValueError as error:
        raise _not_whole(path, str(error)) from error
    if wrong := fault(content):
        raise _not_whole(path, wrong)
    progress = content["progress"]
    data = Position.from_dict(progress["data"])
    return TrainingState(**{**content, "progress": Progress(**{**progress, "data": data})})


def _not_whole(path: Path, reason: str) -> CheckpointError:
    first = (reason.splitlines() or ["no reason given"])[0][:200]
    return CheckpointError(
        f"{path}: not a whole checkpoint ({first}); use an earlier checkpoint of the run"
    )


def digest(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal digits."""
    with path.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()


def check_labels(expected: LabelSpace, found: LabelSpace, *, what: str, data: str) -> None:
    """Refuse to apply a model to data with other labels.

    Raises:
        CheckpointError: Names the labels that differ.
    """
    difference = expected.difference(found)
    if difference:
        raise CheckpointError(
            f"{what} was made for {len(expected)} labels, {data} has {len(found)} ({difference}); "
            "use the shard set it was trained on, or train a new run under another name"
        )


def check_settings(
    before: Mapping[str, Any], now: Mapping[str, Any], *, stage: str, epoch: int, run: str
) -> None:
    """Refuse to continue a run with settings that decide its results and differ.

    Machines, caches and what is kept may change between attempts, because they change nothing
    else. A setting that an earlier version of retdm did not have counts as its default. A stage
    that is not over may be given more epochs.

    Args:
        before: Resolved settings of the run so far.
        now: Those it is to continue with.
        stage: The stage reached; "" before the first one.
        epoch: Its epochs that are done.
        run: Names the run in the error.

    Raises:
        CheckpointError: Names each setting that differs, with both values.
    """
    # A setting that came to exist after the run began has a default under which all is as before.
    new, defaults = flatten(now), flatten(Config().model_dump(mode="json"))
    old = {key: defaults[key] for key in new.keys() & defaults.keys()} | flatten(before)
    allowed = {*_FREE, *_open_epochs(now, stage, epoch)}
    differing = [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and key not in allowed
    ]
    if differing:
        raise CheckpointError(
            f"{run}: the run was started with other settings ({'; '.join(differing)}); "
            "use the same or another --run-name"
        )


def check_reading(
    before: Mapping[str, str], now: Mapping[str, str], *, run: str, state: str
) -> None:
    """Refuse to go on with, or to reuse, what a method did under other readings.

    Args:
        before: Readings of the run so far, by what each is about.
        now: Those that its method takes today.
        run: Names the run in the error.
        state: How far the run is: "begun" or "finished".

    Raises:
        CheckpointError: Names each reading that differs, with both texts.
    """
    differing = [
        f"{name}: {before.get(name, 'not stated')!r} -> {now.get(name, 'not stated')!r}"
        for name in sorted(before.keys() | now.keys())
        if before.get(name) != now.get(name)
    ]
    if differing:
        raise CheckpointError(
            f"{run}: {state} when the method took other readings ({'; '.join(differing)}); "
            "use another --run-name, or remove this folder to train it anew"
        )


def deciding(settings: Mapping[str, Any]) -> dict[str, Any]:
    """The settings that decide a run's results, by dotted key; see `check_settings`."""
    return {key: value for key, value in flatten(settings).items() if key not in _FREE}


def _open_epochs(now: Mapping[str, Any], stage: str, epoch: int) -> set[str]:
    """Keys of epoch counts that may change: of stages to come, and of this one if not undone."""
    names = list(now["stages"])
    at = names.index(stage) if stage in names else -1
    done = {name: epoch if name == stage else 0 for name in names[max(at, 0) :]}
    return {
        f"stages.{name}.epochs"
        for name, epochs in done.items()
        if now["stages"][name]["epochs"] >= epochs
    }


_FREE = (
    "checkpoint.every_minutes",
    "checkpoint.every_steps",
    "checkpoint.keep_best",
    "data.cache_bytes",
    "data.cache_dir",
    "data.loader_workers",
    "data.max_bad_samples",
    "data.read",
    "data.read_ahead",
    "data.shuffle_window",  # the position holds the resolved one, and is checked
    "data.url",
    "run.collective_timeout_s",
    "run.cpus_per_worker",
    "run.gpus",
    "run.ledger",
    "run.log_every_steps",
    "run.max_failures",
    "run.micro_batches",
    "run.resize_check_s",
    "run.max_skipped_steps",
)


def flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Nested settings by dotted key."""
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
