"""The live objects of a run, built from its settings or brought back from its checkpoint."""

import logging
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.config import Config
from retdm.data.bad import BadSample, BadSamples
from retdm.data.loader import TrainingLoader
from retdm.data.order import resolve_window
from retdm.data.plan import Position
from retdm.data.split import SplitData, open_split
from retdm.errors import CheckpointError, shown
from retdm.methods import Clock, Method, MicroBatches, build_method
from retdm.storage import Store
from retdm.train import checkpoint
from retdm.train.checkpoint import Progress, TrainingState
from retdm.train.history import Epochs
from retdm.train.keeper import Keeper
from retdm.train.ledger import Ledger
from retdm.train.logbook import Logbook
from retdm.train.restore import restore
from retdm.train.scoring import Scored, score_split
from retdm.train.session import Session
from retdm.train.skipped import SkippedSteps
from retdm.train.stages import Stage, plan_stages, stage_order

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
    micro_batches: MicroBatches
    bank: Bank | None
    bad: BadSamples
    skipped: SkippedSteps
    logbook: Logbook | None
    """On rank 0 while training, as are `keeper` and `ledger`."""
    keeper: Keeper | None
    ledger: Ledger | None
    history: Epochs
    progress: Progress
    optimizer_state: dict[str, Any]
    """Of the stage in `progress`; empty where that stage is still to begin."""
    tally_state: dict[str, Any]
    """Of the epoch in `progress`; empty where that epoch is still to begin."""
    statistics: Tensor | None
    """Of that epoch, see `TrainingState`."""
    clock: Clock
    """Of this rank; counts on from what a mean worker of the run's earlier attempts did."""
    line: dict[str, float]
    """On rank 0, the newest log line of a step."""
    bank_age: int
    """On rank 0, of the bank's oldest row at that line."""

    def score(self, data: SplitData, *, meanwhile: Callable[[], None]) -> Scored:
        """The method's scores of a split, and its targets, see `score_split`."""
        settings, device = self.config.data, self.session.device
        with self.clock.part("evaluation"):
            return score_split(
                self.method, data, settings, device, bad=self.bad, meanwhile=meanwhile
            )


def open_run(config: Config, session: Session, store: Store) -> Run:
    """Build everything that training needs; a run with checkpoints continues from the newest.

    Raises:
        ConfigError: If a setting cannot be met, pretrained weights for example.
        CheckpointError: If the checkpoint belongs to other data, labels or settings.
    """
    torch.use_deterministic_algorithms(config.run.deterministic)
    train_data = open_split(config.data.url, config.data.train_split)
    val_data = open_split(config.data.url, config.data.val_split)
    device = session.device
    state = restore(store, device)
    known = [] if state is None else [BadSample(**table) for table in state.bad_samples]
    # A run that goes on needs no pretrained weights, which may be out of reach by now.
    labels = len(train_data.label_space)
    method = build_method(config, labels=labels, load_weights=state is None).to(device)
    stages = plan_stages(config, method)
    micro_batches = MicroBatches(config.run.micro_batches or None)
    if device.type == "cuda" and not config.run.micro_batches and comm.world_size() > 1:
        # Statistics of the global batch; the CPU has no such layer and averages once an epoch.
        torch.nn.SyncBatchNorm.convert_sync_batchnorm(method)  # type: ignore[no-untyped-call]
    label_sets = LabelSets(torch.from_numpy(train_data.table.targets)).to(device)
    bank = None
    remembers = method.uses_bank and any("metric" in stage.losses for stage in stages)
    if config.bank.size and remembers:
        # More rows than photos would only be older copies of the same photos.
        rows = min(config.bank.size, len(train_data))
        bank = Bank(rows, config.model.embedding, device=device, max_age=config.bank.max_age)
    bad = BadSamples(config.data.max_bad_samples, known)
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
            parts=micro_batches.total,
            bad=bad,
            pin_memory=device.type == "cuda",
        ),
        method=method,
        stages=stages,
        label_sets=label_sets,
        micro_batches=micro_batches,
        bank=bank,
        bad=bad,
        skipped=SkippedSteps(config.run.max_skipped_steps),
        logbook=None,
        keeper=None,
        ledger=None,
        history=[],
        progress=_start(config, train_data),
        optimizer_state={},
        tally_state={},
        statistics=None,
        clock=Clock(state.seconds if state is not None else None),
        line={},
        bank_age=0,
    )
    if state is not None:
        _restore(run, state)
    return run


def _start(config: Config, data: SplitData) -> Progress:
    """The progress of a run that has not begun."""
    return Progress(
        Position(
            seed=config.seed,
            epoch=0,
            next_batch=0,
            digest=data.digest,
            batch_size=config.data.batch_size,
            window=resolve_window(config.data.shuffle_window, data.shard_sizes),
        )
    )


def _restore(run: Run, state: TrainingState) -> None:
    """Put a checkpoint into the run, if it belongs to it."""
    progress, data = state.progress, run.progress.data
    checkpoint.check_labels(
        state.label_space,
        run.train_data.label_space,
        what="the run's checkpoint",
        data=run.config.data.url,
    )
    progress.data.check(data)
    checkpoint.check_settings(
        state.config,
        run.config.model_dump(mode="json"),
        stage=progress.stage,
        epoch=progress.epoch + (progress.data.next_batch > 0),
        run=run.store.url,
    )
    run.method.load_state_dict(state.model)
    # Empty where no stage had a metric loss so far.
    if run.bank is not None and state.bank:
        run.bank.load_state_dict(state.bank)
    take_over(run, state)
    if comm.rank() == 0:
        log.info("resuming after step %d", progress.step)


def take_over(run: Run, state: TrainingState) -> None:
    """Go on where a checkpoint stands, whose weights the run has.

    Raises:
        CheckpointError: If the run is never there.
    """
    progress, stages = state.progress, stage_order(run.config)
    batches, done = run.loader.batches_per_epoch, progress.data.next_batch
    metric = f"val/{run.config.checkpoint.metric}"
    wrong = ""
    if progress.stage not in ("", *stages):
        wrong = f"in stage {shown(progress.stage)}, this run has {', '.join(stages)}"
    elif done > batches:
        wrong = f"after {done} batches of an epoch, this run's have {batches}"
    elif not all(metric in entry for entry in state.history):
        wrong = f"after an epoch without {metric}"
    if wrong:
        raise CheckpointError(
            f"the checkpoint stands {wrong}; use an earlier one, or another --run-name"
        )
    run.progress, run.optimizer_state = progress, state.optimizer
    run.tally_state, run.statistics = state.tally, state.statistics
    run.history = state.history
    run.skipped.resume(state.skipped_steps)
