"""Training from a run's start or checkpoint to the end of its last stage."""

import logging
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, replace
from functools import partial

from retdm import comm
from retdm.claims import Claim
from retdm.config import Config
from retdm.console import bar_line
from retdm.data.batch import Batch
from retdm.methods.fitted import FittedMethod
from retdm.storage import Store
from retdm.train.attempt import begin_attempt
from retdm.train.cadence import Cadence
from retdm.train.checkpoint import Progress
from retdm.train.epoch_end import end_epoch
from retdm.train.fault import Fault
from retdm.train.fitting import fit_stage
from retdm.train.keeper import Keeper
from retdm.train.ledger import Ledger, consumed
from retdm.train.logbook import Logbook
from retdm.train.notice import heed
from retdm.train.profiled_steps import ProfiledSteps
from retdm.train.readings import readings
from retdm.train.run import Run, open_run
from retdm.train.save import save_checkpoint
from retdm.train.schedule import StageOptimizer
from retdm.train.session import Session
from retdm.train.skipped import KEYS, SkippedStep, remedy, trace_command
from retdm.train.stages import Stage, enter, stage_order
from retdm.train.start import start_from
from retdm.train.step import Stepper
from retdm.train.tally import EpochTally
from retdm.train.trace import Trace

log = logging.getLogger(__name__)


def train(
    config: Config, session: Session, store: Store, *, profile: ProfiledSteps | None = None
) -> Run:
    """Train until the last stage is done; a run with checkpoints continues from the newest.

    Every rank calls this with the same arguments.

    Args:
        config: The resolved settings.
        session: The launcher.
        store: Folder of the run, for logs and the list of checkpoints.
        profile: Steps of which each rank writes a trace.

    Raises:
        CheckpointError: If the checkpoint belongs to other data, labels or settings.
        DivergenceError: If loss parts or gradients are not finite in more steps than may be.
        Interrupted: On all ranks, if the session has a notice; there is a checkpoint of all steps.
    """
    # Before the newest checkpoint is looked for: whoever wrote one until now writes none after it.
    claim = begin_attempt(store) if comm.rank() == 0 else None
    run = open_run(config, session, store)
    if config.start_from and not run.progress.stage:
        start_from(run)
    order = ["", *stage_order(config)]
    trace = Trace(profile, store, run.clock, session.device)
    try:
        if claim:
            _open_books(run, claim)
        session.watch(partial(readings, run))
        for stage in run.stages:
            if order.index(stage.name) < order.index(run.progress.stage):
                continue
            if stage.name != run.progress.stage:
                run.progress = replace(run.progress, stage=stage.name, epoch=0)
                run.optimizer_state = {}
            if isinstance(run.method, FittedMethod):
                with run.clock.part("fit"):
                    fit_stage(run, stage)
            else:
                _train_stage(run, stage, trace)
        _wait_for_checkpoints(run)
    finally:
        trace.close()
        run.loader.close()
        if run.keeper:
            run.keeper.close()
        if run.logbook:
            run.logbook.close()
        if run.ledger:
            run.ledger.close()
    return run


def _open_books(run: Run, claim: Claim) -> None:
    """Go on with what rank 0 keeps of the run."""
    step, keys = run.progress.step, run.train_data.table.keys
    run.logbook = Logbook(run.store, from_step=step)
    if run.config.run.ledger:
        at = run.progress.data.epoch
        run.ledger = Ledger(run.store, keys, from_step=step, from_epoch=at)

    def upload() -> None:
        for book in (run.logbook, run.ledger):
            if book:
                book.upload()

    run.keeper = Keeper(
        run.store,
        claim,
        from_step=step,
        keep_best=run.config.checkpoint.keep_best,
        before=upload,
    )
    run.keeper.begin(run.history)


def _wait_for_checkpoints(run: Run) -> None:
    if run.keeper:
        with run.clock.part("checkpoint"):
            run.keeper.wait()


def _train_stage(run: Run, stage: Stage, trace: Trace) -> None:
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
        run.micro_batches,
        run.session.device,
        step=begin.step,
        stage_step=begin.epoch * run.loader.batches_per_epoch + begin.data.next_batch,
        clock=run.clock,
    )
    if begin.data.next_batch and run.statistics is not None:
        # Not before: DDP, when it is made, gives rank 0's to all.
        run.micro_batches.load_state(run.method.parts["image"], run.statistics)
    cadence = Cadence(config.checkpoint, look_every=config.run.log_every_steps)

    def save(tally: EpochTally) -> None:
        save_checkpoint(run, optimizer, f"stage{stage.name}-step{stepper.step:08d}", tally)
        cadence.saved()

    def secure(tally: EpochTally, inside: Progress) -> None:
        """Return when there is a checkpoint of the run where it is inside the epoch."""
        run.progress = inside
        save(tally)
        _wait_for_checkpoints(run)

    def heed_notice(tally: EpochTally, inside: Progress) -> None:
        heed(run.session, stepper.step, secure=partial(secure, tally, inside))

    def after_step(tally: EpochTally) -> None:
        """Note the step; save a checkpoint on a notice, or if one is due inside the epoch."""
        done = run.progress.data.next_batch + 1
        run.progress = replace(
            run.progress, data=replace(run.progress.data, next_batch=done), step=stepper.step
        )
        trace.reached(stepper.step)
        heed_notice(tally, run.progress)
        last = done == run.loader.batches_per_epoch
        busy = run.keeper is not None and run.keeper.busy
        if not last and cadence.due(stepper.step, busy=busy):
            save(tally)

    trace.reached(stepper.step)
    while run.progress.epoch < stage.epochs:
        data, epoch = run.progress.data, run.progress.epoch
        batches = run.loader.epoch(data.epoch, data.next_batch, augment=stage.augment)
        if config.run.ledger:
            batches = _noted(run, batches)
        tally = EpochTally()
        if data.next_batch:
            tally.load_state_dict(run.tally_state)
        summary = stepper.epoch(
            batches,
            tally,
            on_log=_step_logger(run, stage, epoch),
            on_skip=partial(_note_skipped, run, stage, optimizer),
            after_step=partial(after_step, tally),
        )
        run.micro_batches.average(run.method.parts["image"])
        inside = run.progress
        run.progress = replace(
            run.progress,
            data=replace(data, epoch=data.epoch + 1, next_batch=0),
            epoch=epoch + 1,
        )
        end_epoch(run, stage, optimizer, summary, meanwhile=partial(heed_notice, tally, inside))
        cadence.saved()


def _noted(run: Run, batches: Iterable[Batch]) -> Iterator[Batch]:
    """Note each batch before its step, so that a checkpoint after the step finds it there."""
    for batch in batches:
        rows = consumed(batch)
        if run.ledger:
            run.ledger.write(run.progress.step + 1, run.progress.data, rows)
        yield batch


def _step_logger(run: Run, stage: Stage, epoch: int) -> Callable[[int, dict[str, float]], None]:
    started, before = time.perf_counter(), run.history[-1]["step"] if run.history else 0

    def on_log(step: int, means: dict[str, float]) -> None:
        if run.logbook is None:
            return
        run.logbook.write("step", step, means)
        run.line = means
        # Here it costs no wait for a GPU: the means have been waited for.
        run.bank_age = run.bank.age(step) if run.bank is not None else 0
        label = f"stage {stage.name} epoch {epoch + 1}/{stage.epochs}"
        elapsed_s = time.perf_counter() - started
        line = bar_line(label, step - before, run.loader.batches_per_epoch, elapsed_s, "batch")
        log.info("%s, loss %.4f", line, means["total"])

    return on_log


def _note_skipped(run: Run, stage: Stage, optimizer: StageOptimizer, fault: Fault) -> None:
    """Log a skipped step and count it; `run.progress` is still before it."""
    at, keys = run.progress.data, run.train_data.table.keys
    every = len(fault.suspects) == fault.images
    skipped = SkippedStep(
        stage=stage.name,
        step=fault.step,
        plan_epoch=at.epoch,
        batch=at.next_batch,
        wrong=fault.wrong,
        images=fault.images,
        suspects=len(fault.suspects),
        keys=[] if every else [keys[row] for row in fault.suspects[:KEYS]],
    )
    if run.logbook:
        run.logbook.write("skipped", fault.step, asdict(skipped))
    if comm.rank() == 0:
        log.warning("step skipped: %s; its batch: %s", skipped, trace_command(run.config, at))
    run.skipped.add(skipped, remedy=remedy(run.config, optimizer.lr))
