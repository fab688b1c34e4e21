"""What of a run goes into a checkpoint, at the end of an epoch or inside it."""

from retdm.train.checkpoint import TrainingState
from retdm.train.run import Run
from retdm.train.schedule import StageOptimizer
from retdm.train.scoring import agree
from retdm.train.tally import EpochTally
from retdm.train.time_spent import mean_seconds


def save_checkpoint(
    run: Run, optimizer: StageOptimizer | None, name: str, tally: EpochTally | None = None
) -> None:
    """Save the run as it stands, beside what follows; every rank calls this.

    Args:
        run: Its `progress` is behind the last step.
        optimizer: Of the stage; None after a fit.
        name: Of the checkpoint.
        tally: Of the epoch, inside of one.

    Raises:
        BadSampleError: If all ranks together met more bad images than are allowed.
        RetdmError: On rank 0, if the checkpoint before this one could not be written.
    """
    with run.clock.part("checkpoint"):
        _save(run, optimizer, name, tally)


def _save(run: Run, optimizer: StageOptimizer | None, name: str, tally: EpochTally | None) -> None:
    sums, statistics = {}, None
    if tally is not None:
        # What only ends of epochs make equal on all ranks.
        agree(run.bad, url=run.train_data.url)
        sums, statistics = tally.state_dict(), run.micro_batches.state(run.method.parts["image"])
    seconds = mean_seconds(run.clock)
    if run.keeper is None:
        return
    state = TrainingState(
        model=run.method.state_dict(),
        optimizer=optimizer.state_dict() if optimizer else {},
        bank=run.bank.state_dict() if run.bank is not None else {},
        progress=run.progress,
        history=run.history,
        bad_samples=run.bad.to_tables(),
        config=run.config.model_dump(mode="json"),
        labels=run.train_data.label_space.names,
        skipped_steps=run.skipped.to_tables(),
        tally=sums,
        statistics=statistics,
        seconds={part: spent for part, spent in seconds.items()},
    )
    run.keeper.save(state, name)
