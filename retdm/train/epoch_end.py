"""What happens between two epochs: validation, learning rate, record, checkpoint."""

import logging
from collections.abc import Callable
from typing import Any

import numpy as np

from retdm import comm
from retdm.console import counted
from retdm.errors import DivergenceError
from retdm.evaluation import evaluate
from retdm.methods import Diagnosis
from retdm.train.history import rank_score
from retdm.train.run import Run
from retdm.train.save import save_checkpoint
from retdm.train.schedule import StageOptimizer
from retdm.train.scoring import agree
from retdm.train.skipped import remedy
from retdm.train.stages import Stage, stage_order
from retdm.train.tally import EpochSummary

log = logging.getLogger(__name__)


def end_epoch(
    run: Run,
    stage: Stage,
    optimizer: StageOptimizer | None,
    summary: EpochSummary,
    *,
    meanwhile: Callable[[], None] = lambda: None,
) -> None:
    """Validate, adapt the learning rate, record the epoch and save a checkpoint.

    Every rank calls this.

    Args:
        run: Its `progress` is behind the epoch.
        stage: Of the epoch.
        optimizer: None after a fit.
        summary: Of the epoch.
        meanwhile: Called on all ranks alike while the run is still as before this call.

    Raises:
        BadSampleError: If all ranks together met more bad images than are allowed.
        DivergenceError: If the network's scores are not finite.
    """
    progress = run.progress
    agree(run.bad, url=run.train_data.url)
    lr = optimizer.lr if optimizer else 0.0
    validation = _validate(run, stage, lr, meanwhile)
    metric = run.config.checkpoint.metric
    # Stage 2 cannot move validation scores, so its plateau is seen on its own objective.
    moves = stage.trains_classifier
    monitored = validation[metric] if moves else -summary.means["total"]
    if optimizer:
        optimizer.end_epoch(monitored)
    name = f"stage{stage.name}-epoch{progress.epoch:03d}"
    # Behind the validation, in which a notice may come: then this end of the epoch is repeated.
    diagnosis = summary.diagnose() or Diagnosis({}, {})
    entry: dict[str, Any] = {
        "stage": stage.name,
        "epoch": progress.epoch,
        # The epoch that `python -m retdm.data trace --epoch` shows; -1 after a fit.
        "plan_epoch": progress.data.epoch - 1,
        "step": progress.step,
        "checkpoint": name,
        "lr": lr,
        "rank_score": rank_score(stage_order(run.config).index(stage.name), validation[metric]),
        "images_per_s": summary.images / summary.seconds,
        "workers": comm.world_size(),
        "wait_share": summary.wait_seconds / summary.seconds,
        "bad_samples": len(run.bad),
        "skipped_steps": len(run.skipped),
        **{f"train/{part}": value for part, value in summary.means.items()},
        **{f"diagnosis/{part}": value for part, value in diagnosis.values.items()},
        **{f"val/{part}": value for part, value in validation.items()},
    }
    entry = comm.broadcast_object(entry)
    run.history.append(entry)
    if run.logbook:
        run.logbook.write("epoch", progress.step, entry)
        run.logbook.histograms(progress.step, diagnosis.histograms)
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
        if run.bad:
            images = counted(len(run.bad), "bad image")
            log.warning("%s so far, see `bad_samples` in the result", images)
        if run.skipped:
            steps = counted(len(run.skipped), "skipped step")
            log.warning("%s so far, see `skipped_steps` in the result", steps)
    numbers = {key: value for key, value in entry.items() if isinstance(value, int | float)}
    run.session.report(numbers)
    save_checkpoint(run, optimizer, name)


def _validate(
    run: Run, stage: Stage, lr: float, meanwhile: Callable[[], None]
) -> dict[str, float]:
    if not stage.trains_classifier and run.history:
        last = run.history[-1]
        return {key[4:]: value for key, value in last.items() if key.startswith("val/")}
    scores, targets = run.score(run.val_data, meanwhile=meanwhile)
    if not np.isfinite(scores).all():
        raise DivergenceError(
            f"stage {stage.name}: the network's scores are not finite numbers after this epoch; "
            f"{remedy(run.config, lr)}"
        )
    metrics = None
    if comm.rank() == 0:
        metrics = evaluate(scores, targets, threshold=run.config.run.threshold)
    result: dict[str, float] = comm.broadcast_object(metrics)
    return result
