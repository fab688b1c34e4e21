"""Starting from another run's checkpoint, so that methods share the stages they do alike.

Every method whose classification loss is BCE trains the paper's stage 1 in the same way, to the
bit: same weights at the start, same batches, same steps. One run can do it for all of them.
"""

import logging
from dataclasses import asdict
from typing import Any

from retdm import comm
from retdm.config import Config, parse
from retdm.errors import CheckpointError, ConfigError
from retdm.methods import build_method
from retdm.storage import open_store
from retdm.train import checkpoint
from retdm.train.checkpoint import TrainingState
from retdm.train.restore import load_checkpoint
from retdm.train.run import Run, take_over
from retdm.train.stages import Stage, plan_stages

log = logging.getLogger(__name__)

_SHAPING = {
    "checkpoint": ("metric",),
    "data": ("augment", "image_size", "resize", "train_split", "val_split"),
    "loss": ("bce_reduction",),
    "model": ("backbone", "dropout", "embedding", "weights"),
    "optimizer": (
        "clip_norm",
        "drop_factor",
        "loss_scale",
        "min_lr",
        "momentum",
        "patience",
        "weight_decay",
    ),
    "run": ("deterministic", "gradients", "precision"),
}


def start_from(run: Run) -> None:
    """Put the checkpoint `start_from` names into a fresh run: parts, optimizer and position.

    Parts that the other method lacks keep their own fresh weights. The history is taken over too,
    ranked below everything that this run will do, since those checkpoints are not its own.

    Raises:
        CheckpointError: If the other run did not do what this one would have done.
    """
    url, _, name = run.config.start_from.rstrip("/").rpartition("/")
    state = load_checkpoint(open_store(url), name, run.session.device)
    checkpoint.check_labels(
        state.label_space,
        run.train_data.label_space,
        what="start_from's checkpoint",
        data=run.config.data.url,
    )
    state.progress.data.check(run.progress.data)
    _check_alike(run, state)
    taken = {_part(name) for name in state.model}
    if foreign := sorted(taken - set(run.method.parts)):
        raise CheckpointError(
            f"start_from = {run.config.start_from!r}: it holds parts that method "
            f"{run.config.method} lacks ({', '.join(foreign)}); give a checkpoint of method bce "
            f"or {run.config.method}"
        )
    own = run.method.state_dict()
    fresh = {name: value for name, value in own.items() if _part(name) not in taken}
    run.method.load_state_dict({**fresh, **state.model})
    take_over(run, state)
    run.history = [{**entry, "rank_score": -1.0} for entry in state.history]
    if comm.rank() == 0:
        log.info("starting from %s, after step %d", run.config.start_from, state.progress.step)


def _part(name: str) -> str:
    """Of the method that an entry of its state belongs to: `parts.image.0.weight` to image."""
    return name.removeprefix("parts.").partition(".")[0]


def _check_alike(run: Run, state: TrainingState) -> None:
    """Compare what decides the stages done so far."""
    try:
        before = parse(Config, state.config, source=f"start_from = {run.config.start_from!r}")
        method = build_method(before, len(state.labels), load_weights=False)
    except ConfigError as error:
        raise CheckpointError(f"{error}; give a checkpoint of a run of this version") from error
    last = state.progress.stage
    old = [asdict(stage) for stage in _until(plan_stages(before, method), last)]
    new = [asdict(stage) for stage in _until(run.stages, last)]
    differing = [
        f"{key}: {there} there, {here} here"
        for key, there, here in (
            ("classification loss", method.classification, run.method.classification),
            (f"stages up to {last}", old, new),
            *_differences(before, run.config, run.method.classification),
        )
        if there != here
    ]
    if differing:
        raise CheckpointError(
            f"start_from = {run.config.start_from!r}: that run trained otherwise "
            f"({'; '.join(differing)}); give a checkpoint of a run with the same settings, or "
            "leave start_from empty"
        )
    if _until(run.stages, last) == run.stages and state.progress.epoch >= run.stages[-1].epochs:
        raise CheckpointError(
            f"start_from = {run.config.start_from!r}: nothing is left to train after "
            f"stage {last}; give a later stage some epochs, or an earlier checkpoint"
        )


def _until(stages: list[Stage], last: str) -> list[Stage]:
    names = [stage.name for stage in stages]
    return stages[: names.index(last) + 1] if last in names else []


def _differences(before: Config, now: Config, classification: str) -> list[tuple[str, Any, Any]]:
    """Settings that shape a classification stage, its loss's own included, with both values."""
    old, new = before.model_dump(), now.model_dump()
    own = classification.replace("-", "_")
    shaping = {**_SHAPING, **({own: tuple(new[own])} if own in new else {})}
    return [
        (f"{table}.{key}", old[table][key], new[table][key])
        for table, keys in shaping.items()
        for key in keys
    ]
