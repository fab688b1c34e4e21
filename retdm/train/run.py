"""A run from start or checkpoint to the end: stages, epochs, validation, checkpoints."""

import logging
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config
from retdm.console import bar_line
from retdm.data.loader import TrainingLoader
from retdm.data.plan import Position
from retdm.data.split import SplitData, open_split
from retdm.errors import DivergenceError
from retdm.evaluation import evaluate
from retdm.methods import Method, build_method
from retdm.storage import Store
from retdm.train import checkpoint
from retdm.train.checkpoint import Progress, TrainingState
from retdm.train.history import publish, rank_score
from retdm.train.logbook import Logbook
from retdm.train.schedule import StageOptimizer
from retdm.train.scoring import score_split
from retdm.train.session import Session
from retdm.train.stages import Stage, enter, plan_stages
from retdm.train.step import EpochSummary, Stepper

log = logging.getLogger(__name__)


@dataclass
class Run:
    """The live objects of one attempt at a run."""

    config: Config
    session: Session
    store: Store
    train_data: SplitData
    val_data: SplitData
    loader: TrainingLoader
    method: Method
    stages: list[Stage]
    label_sets: LabelSets
    bank: Bank | None
    logbook: Logbook | None
    history: list[dict[str, Any]]


def train(config: Config, session: Session, store: Store) -> Run:
    """Train until the last stage is done; a session with a checkpoint continues from it.

    Every rank calls this with the same arguments.

    Args:
        config: The resolved settings.
        session: The launcher.
        store: Folder of the run, for logs and the list of checkpoints.

    Raises:
        CheckpointError: If the checkpoint belongs to other data, labels or settings.
        DivergenceError: If a loss part stops being finite.
    """
    torch.use_deterministic_algorithms(config.run.deterministic)
    train_data = open_split(config.data.url, config.data.train_split)
    val_data = open_split(config.data.url, config.data.val_split)
    device = session.device
    with session.restore() as folder:
        state = None if folder is None else checkpoint.load(folder, map_location=device)
    # A run that goes on needs no pretrained weights, which may be out of reach by now.
    labels = len(train_data.label_space)
    method = build_method(config, labels=labels, load_weights=state is None).to(device)
    stages = plan_stages(config, method)
    if device.type == "cuda" and comm.world_size() > 1:
        # Statistics of the global batch; the CPU has no such layer and averages once an epoch.
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
    label_sets = LabelSets(torch.from_numpy(train_data.table.targets)).to(device)
    bank = None
    if config.bank.size and any("metric" in stage.losses for stage in stages):
        # More rows than photos would only be older copies of the same photos.
        rows = min(config.bank.size, len(train_data))
        bank = Bank(rows, config.model.embedding, device=device, max_age=config.bank.max_age)
    run = Run(
        config=config,
        session=session,
        store=store,
        train_data=train_data,
        val_data=val_data,
        loader=TrainingLoader(
            train_data,
            config.data,
            seed=config.seed,
            rank=comm.rank(),
            world_size=comm.world_size(),
            pin_memory=device.type == "cuda",
        ),
        method=method,
        stages=stages,
        label_sets=label_sets,
        bank=bank,
        logbook=None,
        history=[],
    )
    progress = _start(run) if state is None else _restore(run, state)
    optimizer_state = {} if state is None else state.optimizer
    if comm.rank() == 0:
        publish(store, run.history)
        run.logbook = Logbook(store, from_step=progress.step)
    order = ["", *config.stages]
    try:
        for stage in stages:
            if order.index(stage.name) < order.index(progress.stage):
                continue
            if stage.name != progress.stage:
                progress = replace(progress, stage=stage.name, epoch=0)
                optimizer_state = {}
            progress = _stage(run, stage, progress, optimizer_state)
    finally:
        run.loader.close()
        if run.logbook:
            run.logbook.close()
    return run


def _start(run: Run) -> Progress:
    """The progress of a run that has not begun."""
    return Progress(
        Position(
            seed=run.config.seed,
            epoch=0,
            next_batch=0,
            digest=run.train_data.digest,
            batch_size=run.config.data.batch_size,
        )
    )


def _restore(run: Run, state: TrainingState) -> Progress:
    """Put a checkpoint into the run, if it belongs to it."""
    progress, data = state.progress, _start(run).data
    checkpoint.check_labels(
        state.label_space,
        run.train_data.label_space,
        what="the run's checkpoint",
        data=run.config.data.url,
    )
    progress.data.check(seed=data.seed, digest=data.digest, batch_size=data.batch_size)
    checkpoint.check_settings(
        state.config,
        run.config.model_dump(mode="json"),
        stage=progress.stage,
        epoch=progress.epoch,
        run=run.store.url,
    )
    run.method.load_state_dict(state.model)
    if run.bank is not None:
        run.bank.load_state_dict(state.bank)
    run.history = state.history
    if comm.rank() == 0:
        log.info("resuming after step %d", progress.step)
    return progress


def _stage(
    run: Run, stage: Stage, progress: Progress, optimizer_state: dict[str, Any]
) -> Progress:
    """Train the stage from `progress` to its end."""
    config = run.config
    optimizer = StageOptimizer(enter(stage, run.method), config.optimizer, stage.lr)
    if optimizer_state:
        optimizer.load_state_dict(optimizer_state)
    stepper = Stepper(
        config,
        stage,
        run.method,
        optimizer,
        run.bank,
        run.label_sets,
        run.session.device,
        step=progress.step,
        stage_step=progress.epoch * run.loader.batches_per_epoch + progress.data.next_batch,
    )
    while progress.epoch < stage.epochs:
        data = progress.data
        batches = run.loader.epoch(data.epoch, data.next_batch, augment=stage.augment)
        on_log = _step_logger(run, stage, progress.epoch)
        summary = stepper.epoch(batches, on_log)
        comm.average_buffers(run.method)
        progress = replace(
            progress,
            data=replace(data, epoch=data.epoch + 1, next_batch=0),
            epoch=progress.epoch + 1,
            step=stepper.step,
        )
        _end_epoch(run, stage, progress, optimizer, summary)
    return progress


def _step_logger(run: Run, stage: Stage, epoch: int) -> Callable[[int, dict[str, float]], None]:
    started, before = time.perf_counter(), run.history[-1]["step"] if run.history else 0

    def on_log(step: int, means: dict[str, float]) -> None:
        if run.logbook is None:
            return
        run.logbook.write("step", step, means)
        label = f"stage {stage.name} epoch {epoch + 1}/{stage.epochs}"
        elapsed_s = time.perf_counter() - started
        line = bar_line(label, step - before, run.loader.batches_per_epoch, elapsed_s, "batch")
        log.info("%s, loss %.4f", line, means["total"])

    return on_log


def _end_epoch(
    run: Run, stage: Stage, progress: Progress, optimizer: StageOptimizer, summary: EpochSummary
) -> None:
    """Validate, adapt the learning rate, record the epoch and hand over a checkpoint."""
    validation = _validate(run, stage)
    metric = run.config.checkpoint.metric
    # Stage 2 cannot move validation scores, so its plateau is seen on its own objective.
    moves = stage.trains_classifier
    monitored = validation[metric] if moves else -summary.means["total"]
    lr = optimizer.lr
    optimizer.end_epoch(monitored)
    name = f"stage{stage.name}-epoch{progress.epoch:03d}"
    entry: dict[str, Any] = {
        "stage": stage.name,
        "epoch": progress.epoch,
        # The epoch that `python -m retdm.data trace --epoch` shows.
        "plan_epoch": progress.data.epoch - 1,
        "step": progress.step,
        "checkpoint": name,
        "lr": lr,
        "rank_score": rank_score(list(run.config.stages).index(stage.name), validation[metric]),
        "images_per_s": summary.images / summary.seconds,
        "wait_share": summary.wait_seconds / summary.seconds,
        **{f"train/{part}": value for part, value in summary.means.items()},
        **{f"val/{part}": value for part, value in validation.items()},
    }
    entry = comm.broadcast_object(entry)
    run.history.append(entry)
    if run.logbook:
        run.logbook.write("epoch", progress.step, entry)
        run.logbook.upload()
        log.info(
            "stage %s epoch %d/%d: loss %.4f, validation mAP %.4f, OF1 %.4f, %.0f images/s",
            stage.name,
            progress.epoch,
            stage.epochs,
            summary.means["total"],
            validation["mAP"],
            validation["OF1"],
            entry["images_per_s"],
        )
    folder = _save(run, progress, optimizer) if comm.rank() == 0 else None
    numbers = {key: value for key, value in entry.items() if isinstance(value, int | float)}
    run.session.report(numbers, folder, name)
    if comm.rank() == 0:
        publish(run.store, run.history)


def _validate(run: Run, stage: Stage) -> dict[str, float]:
    if not stage.trains_classifier and run.history:
        last = run.history[-1]
        return {key[4:]: value for key, value in last.items() if key.startswith("val/")}
    scores = score_split(run.method, run.val_data, run.config.data, run.session.device)
    if not np.isfinite(scores).all():
        raise DivergenceError(
            f"stage {stage.name}: the network's scores are not finite numbers after this epoch; "
            "lower optimizer.lr or set optimizer.clip_norm"
        )
    metrics = None
    if comm.rank() == 0:
        metrics = evaluate(scores, run.val_data.table.targets, threshold=run.config.run.threshold)
    result: dict[str, float] = comm.broadcast_object(metrics)
    return result


def _save(run: Run, progress: Progress, optimizer: StageOptimizer) -> Path:
    """Write a checkpoint to a temporary folder, which the session takes over."""
    folder = Path(tempfile.mkdtemp(prefix="retdm-checkpoint-"))
    checkpoint.save(
        TrainingState(
            model=run.method.state_dict(),
            optimizer=optimizer.state_dict(),
            bank=run.bank.state_dict() if run.bank is not None else {},
            progress=progress,
            history=run.history,
            config=run.config.model_dump(mode="json"),
            labels=run.train_data.label_space.names,
        ),
        folder,
    )
    return folder
