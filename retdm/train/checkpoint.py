"""Checkpoints: everything that changes during training, in one file that is safe to load.

`state.pt` holds tensors and plain values only, so it loads with `weights_only=True` and cannot
run code. Random states are not among them: every draw is keyed by (seed, position), so the
position is the random state.
"""

import pickle
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from retdm.data.plan import Position
from retdm.errors import CheckpointError
from retdm.labels import LabelSpace

STATE = "state.pt"


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
    """Optimizer steps taken since the start of the run."""


@dataclass
class TrainingState:
    """The content of a checkpoint."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    bank: dict[str, Any]
    progress: Progress
    history: list[dict[str, Any]]
    config: dict[str, Any]
    labels: tuple[str, ...]

    @property
    def label_space(self) -> LabelSpace:
        """The labels the classifier's columns stand for."""
        return LabelSpace(tuple(self.labels))


def save(state: TrainingState, folder: Path) -> None:
    """Write the state into `folder`, which exists."""
    content = {name: getattr(state, name) for name in state.__dataclass_fields__}
    torch.save({**content, "progress": asdict(state.progress)}, folder / STATE)


def load(folder: Path, *, map_location: torch.device | str = "cpu") -> TrainingState:
    """Read a checkpoint folder without executing anything in it.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds other objects than tensors.
    """
    path = folder / STATE
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
        progress = content["progress"]
        data = Position.from_dict(progress["data"])
        return TrainingState(**{**content, "progress": Progress(**{**progress, "data": data})})
    except FileNotFoundError:
        raise CheckpointError(f"{path}: no such file, so this is not a checkpoint") from None
    except (RuntimeError, EOFError, pickle.UnpicklingError, TypeError, KeyError) as error:
        first = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise CheckpointError(
            f"{path}: not a whole checkpoint ({first}); use an earlier checkpoint of the run"
        ) from error


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


def check_same_run(state: TrainingState, settings: Mapping[str, Any], data: Position) -> None:
    """Refuse to continue a run on other data or with another objective.

    Machines, epochs, caches and what is kept may change between attempts; everything else may
    not, because the numbers before and after would belong to different experiments.

    Raises:
        CheckpointError: Names what differs.
    """
    state.progress.data.check(seed=data.seed, digest=data.digest, batch_size=data.batch_size)
    differing = changed_settings(state.config, settings)
    if differing:
        raise CheckpointError(
            f"the run was started with other settings ({'; '.join(differing)}); "
            "use the same settings or another --run-name"
        )


_FREE = (
    "run.",
    "checkpoint.",
    "data.url",
    "data.cache_",
    "data.read",
    "data.loader_workers",
    "model.weights",
)


def changed_settings(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Settings that decide results and differ, each as "a.b: old -> new"."""
    old, new = _flatten(before), _flatten(now)
    return [
        f"{key}: {old.get(key)} -> {new.get(key)}"
        for key in sorted({*old, *new})
        if old.get(key) != new.get(key) and not key.startswith(_FREE) and "epochs" not in key
    ]


def _flatten(table: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    flat: dict[str, Any] = {}
    for key, value in table.items():
        if isinstance(value, Mapping):
            flat |= _flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = list(value) if isinstance(value, tuple) else value
    return flat
