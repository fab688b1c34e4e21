"""Training from a run's start or checkpoint to the end of its last stage."""

import logging
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from retdm import comm
from retdm.config import Config
from retdm.console import bar_line
from retdm.methods.fitted import FittedMethod
from retdm.storage import Store
from retdm.train.cadence import Cadence
from retdm.train.checkpoint import Progress
from retdm.train.epoch_end import end_epoch
from retdm.train.fitting import fit_stage
from retdm.train.keeper import Keeper
from retdm.train.logbook import Logbook
from retdm.train.notice import heed
from retdm.train.run import Run, open_run
from retdm.train.save import save_checkpoint
from retdm.train.schedule import StageOptimizer
from retdm.train.session import Session
from retdm.train.stages import Stage, enter, stage_order
from retdm.train.start import start_from
from retdm.train.step import Stepper
from retdm.train.tally import EpochTally

log = logging.getLogger(__name__)


def train(config: Config, session: Session, store: Store) -> Run:
    """Train until the last stage is done; a run with checkpoints continues from the newest.

    Every rank calls this with the same arguments.

    Args:
        config: The resolved settings.
        session: The launcher.
        store: Folder of the run, for logs and the list of checkpoints.

    Raises:
        CheckpointError: If the checkpoint belongs to other data, labels or settings.
        DivergenceError: If a loss part stops being finite.
        Interrupted: On all ranks, if the session has a notice; there is a checkpoint of all steps.
    """
    run = open_run(config, session, store)
    if config.start_from and not run.progress.stage:
        start_from(run)
    order = ["", *stage_order(config)]
    try:
        if comm.rank() == 0:
            run.logbook = Logbook(store, from_step=run.progress.step)
            run.keeper = Keeper(
                store,
                from_step=run.progress.step,
                keep_best=config.checkpoint.keep_best,
                before=run.logbook.upload,
            )
            run.keeper.begin(run.history)
        for stage in run.stages:
            if order.index(stage.name) < order.index(run.progress.stage):
                continue
            if stage.name != run.progress.stage:
                run.progress = replace(run.progress, stage=stage.name, epoch=0)
                run.optimizer_state = {}
            if isinstance(run.method, FittedMethod):
                fit_stage(run, stage)
            else:
                _train_stage(run, stage)
        if run.keeper:
            run.keeper.wait()
    finally:
        run.loader.close()
        if run.keeper:
            run.keeper.close()
        if run.logbook:
            run.logbook.close()
    return run


def _train_stage(run: Run, stage: Stage) -> None:
    """Train the stage from the run's progress to its end."""
    config, begin = run.config, run.progress
    optimizer = StageOptimizer(enter(stage, run.method), config.optimizer, stage.lr)
    if run.optimizer_state:
        optimizer.load_state_dict(run.optimizer_state)
    stepper = Stepper(
        config,
        stage,
        run.method,
        optimizer,
        run.bank,
        run.label_sets,
        run.session.device,
        step=begin.step,
        stage_step=begin.epoch * run.loader.batches_per_epoch + begin.data.next_batch,
    )
    if begin.data.next_batch and run.buffers is not None:
        # Not before: DDP, when it is made, gives rank 0's to all.
        comm.scatter_buffers(run.method, run.buffers)
    cadence = Cadence(config.checkpoint, look_every=config.run.log_every_steps)

    def save(tally: EpochTally) -> None:
        save_checkpoint(run, optimizer, f"stage{stage.name}-step{stepper.step:08d}", tally)
        cadence.saved()

    def secure(tally: EpochTally, inside: Progress) -> None:
        """Return when there is a checkpoint of the run where it is inside the epoch."""
        run.progress = inside
        save(tally)
        if run.keeper:
            run.keeper.wait()

    def heed_notice(tally: EpochTally, inside: Progress) -> None:
        heed(run.session, stepper.step, secure=partial(secure, tally, inside))

    def after_step(tally: EpochTally) -> None:
        """Note the step; save a checkpoint on a notice, or if one is due inside the epoch."""
        done = run.progress.data.next_batch + 1
        run.progress = replace(
            run.progress, data=replace(run.progress.data, next_batch=done), step=stepper.step
        )
        heed_notice(tally, run.progress)
        last = done == run.loader.batches_per_epoch
        busy = run.keeper is not None and run.keeper.busy
        if not last and cadence.due(stepper.step, busy=busy):
            save(tally)

    while run.progress.epoch < stage.epochs:
        data, epoch = run.progress.data, run.progress.epoch
        batches = run.loader.epoch(data.epoch, data.next_batch, augment=stage.augment)
        tally = EpochTally()
        if data.next_batch:
            tally.load_state_dict(run.tally_state)
        summary = stepper.epoch(
            batches,
            tally,
            on_log=_step_logger(run, stage, epoch),
            after_step=partial(after_step, tally),
        )
        comm.average_buffers(run.method)
        inside = run.progress
        run.progress = replace(
            run.progress,
            data=replace(data, epoch=data.epoch + 1, next_batch=0),
            epoch=epoch + 1,
        )
        end_epoch(run, stage, optimizer, summary, meanwhile=partial(heed_notice, tally, inside))
        cadence.saved()


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
