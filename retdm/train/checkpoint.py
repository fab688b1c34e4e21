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

from retdm.errors import CheckpointError
from retdm.labels import LabelSpace

STATE = "state.pt"


@dataclass(frozen=True)
class Position:
    """How far training has come: the first step that has not been taken."""

    stage: str = ""
    """Name of the stage; "" before the first one."""
    epoch: int = 0
    """Epochs of the stage that are done."""
    next_batch: int = 0
    step: int = 0
    """Optimizer steps taken since the start of the run."""
    seen_epochs: int = 0
    """Epochs of all stages so far; the plan's epoch number, so no order comes twice."""


@dataclass
class TrainingState:
    """The content of a checkpoint."""

    model: dict[str, Any]
    optimizer: dict[str, Any]
    bank: dict[str, Any]
    position: Position
    history: list[dict[str, Any]]
    config: dict[str, Any]
    labels: tuple[str, ...]
    data_digest: str

    @property
    def label_space(self) -> LabelSpace:
        """The labels the classifier's columns stand for."""
        return LabelSpace(tuple(self.labels))


def save(state: TrainingState, folder: Path) -> None:
    """Write the state into `folder`, which exists."""
    content = {name: getattr(state, name) for name in state.__dataclass_fields__}
    torch.save({**content, "position": asdict(state.position)}, folder / STATE)


def load(folder: Path, *, map_location: torch.device | str = "cpu") -> TrainingState:
    """Read a checkpoint folder without executing anything in it.

    Raises:
        CheckpointError: If the file is missing, damaged, or holds other objects than tensors.
    """
    path = folder / STATE
    try:
        content = torch.load(path, map_location=map_location, weights_only=True)
        return TrainingState(**{**content, "position": Position(**content["position"])})
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


def check_same_run(state: TrainingState, settings: Mapping[str, Any], digest: str) -> None:
    """Refuse to continue a run on other data or with another objective.

    Machines, epochs, caches and what is kept may change between attempts; everything else may
    not, because the numbers before and after would belong to different experiments.

    Raises:
        CheckpointError: Names what differs.
    """
    if state.data_digest != digest:
        raise CheckpointError(
            f"the run was trained on shard set {state.data_digest[:12]}, data.url now holds "
            f"{digest[:12]}; use the same shards or another --run-name"
        )
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
