"""Steps that a run left out because numbers were not finite: which, why, and how many may be."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from retdm import comm
from retdm.config import Config
from retdm.console import counted
from retdm.data.plan import Position
from retdm.errors import DivergenceError

KEYS = 8
"""Images that are named for a step."""


@dataclass(frozen=True, slots=True)
class SkippedStep:
    """One step without an update, and what is known of the reason."""

    stage: str
    step: int
    """Of the run, from 1, as in the log."""
    plan_epoch: int
    """What `python -m retdm.data trace --epoch` shows it under."""
    batch: int
    """Of that epoch, from 0."""
    wrong: str
    """What was not finite, and on which rank."""
    images: int
    """Of the global batch."""
    suspects: int
    """Those of them whose embedding, loss or gradient is not finite without the others."""
    keys: list[str]
    """Of the suspects, the first few in the order of the training table; none if all are."""

    def __str__(self) -> str:
        return f"stage {self.stage}, step {self.step}: {self.wrong}; {self._images()}"

    def _images(self) -> str:
        if self.suspects == self.images:
            return "each image of the batch alone gives such numbers too: the weights are at fault"
        if not self.suspects:
            return "no image of the batch gives such numbers alone"
        others = self.suspects - len(self.keys)
        more = f" and {others} more" if others else ""
        return f"these images give such numbers alone: {', '.join(map(repr, self.keys))}{more}"


class SkippedSteps:
    """The skipped steps of a run, in order; the same on every rank.

    Args:
        limit: `run.max_skipped_steps`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._steps: list[SkippedStep] = []

    def __len__(self) -> int:
        return len(self._steps)

    def resume(self, tables: Iterable[Mapping[str, Any]]) -> None:
        """Count on from a checkpoint's."""
        self._steps = [SkippedStep(**table) for table in tables]

    def add(self, step: SkippedStep, *, remedy: str) -> None:
        """Count one more.

        Raises:
            DivergenceError: If it is one more than the limit; with what is known of it.
        """
        self._steps.append(step)
        if len(self) > self.limit:
            which = ", ".join(str(one.step) for one in self._steps[-KEYS:])
            raise DivergenceError(
                f"{step}; {counted(len(self), 'step')} of this run had to be skipped (at the end "
                f"{which}), run.max_skipped_steps={self.limit} allows for no more; {remedy}"
            )

    def to_tables(self) -> list[dict[str, Any]]:
        """All of them as plain values, for results and checkpoints."""
        return [asdict(step) for step in self._steps]


def trace_command(config: Config, at: Position) -> str:
    """The command that lists the images of the batch at `at`, by rank or micro-batch."""
    window, parts = config.data.shuffle_window, config.run.micro_batches or comm.world_size()
    return " ".join(
        (
            f"python -m retdm.data trace {config.data.url} --split {config.data.train_split}",
            f"--seed {at.seed} --epoch {at.epoch} --batch-size {at.batch_size}",
            *([f"--shuffle-window {window}"] if window else []),
            f"--world-size {parts} --start-batch {at.next_batch} --batches 1",
        )
    )


def remedy(config: Config, lr: float) -> str:
    """What can be done about numbers that are not finite, under these settings."""
    optimizer = config.optimizer
    ways = [f"lower optimizer.lr (now {lr:g})"]
    if optimizer.clip_norm:
        ways.append(f"lower optimizer.clip_norm (now {optimizer.clip_norm:g})")
    else:
        ways.append("set optimizer.clip_norm")
    if optimizer.loss_scale > 1:
        ways.append(f"lower optimizer.loss_scale (now {optimizer.loss_scale:g})")
    if config.run.precision == "bf16":
        ways.append("set run.precision=fp32")
    return f"{', '.join(ways[:-1])} or {ways[-1]}, under another --run-name"
