"""Checkpoints of no run, and indexes without the checkpoints."""

from collections.abc import Callable
from pathlib import Path

import torch

from retdm.bank import Bank, BankRows
from retdm.config import Config, OptimizerSettings
from retdm.data.plan import Position
from retdm.storage import Store
from retdm.train.checkpoint import Progress, TrainingState, digest, file_of, load, save
from retdm.train.history import INDEX, Kept, publish
from retdm.train.schedule import StageOptimizer
from retdm.train.tally import EpochTally


def kept(name, *, stage="1", epoch=1, step=1, next_batch=0):
    """The index's line for one checkpoint."""
    return Kept(name, stage, epoch, next_batch, step, sha256="0" * 64)


def entry(name, score, *, stage="1", epoch=1, step=1):
    """What the index says of the epoch at whose end it was written."""
    return {"checkpoint": name, "rank_score": score, "stage": stage, "epoch": epoch, "step": step}


def publish_epoch(store: Store, stage: str, epoch: int) -> None:
    """The index of a run that has one checkpoint, at the end of that epoch."""
    at = {"stage": stage, "epoch": epoch}
    publish(store, [entry("end", 1.0, **at)], [kept("end", **at)])


def epoch_entry(name="e", **changes):
    """What a checkpoint says of a finished epoch."""
    numbers = {"lr": 0.1, "val/mAP": 0.5, "val/OF1": float("nan"), "plan_epoch": -1}
    return {**entry(name, 0.5), **numbers, **changes}


def rewrite(root: Path, name: str, edit: Callable[[TrainingState], None]) -> None:
    """Change what a checkpoint of the run in folder `root` holds, as a stranger may have."""
    path = root / file_of(name)
    state = load(path)
    edit(state)
    old = digest(path)
    save(state, path)
    index = root / INDEX
    index.write_text(index.read_text().replace(old, digest(path)))


def whole_state() -> TrainingState:
    """Inside an epoch, with something in each table; of two labels and a net of one layer."""
    layer = torch.nn.Linear(4, 2)
    optimizer = StageOptimizer(layer.parameters(), OptimizerSettings(), 0.1)
    optimizer.backward(layer(torch.ones(3, 4)).sum())
    optimizer.step(torch.ones(()))
    bank = Bank(4, 2)
    bank.push(BankRows(torch.ones(3, 2), torch.arange(3), torch.arange(3)), step=1)
    tally = EpochTally()
    for step in range(2):
        tally.add({"total": torch.tensor(1.5), "bce": torch.tensor(1.0)}, images=8)
        if not step:
            tally.close_line()
    skipped = {"stage": "1", "step": 3, "plan_epoch": 0, "batch": 2, "wrong": "bce is nan"}
    return TrainingState(
        model={f"parts.image.{name}": value for name, value in layer.state_dict().items()},
        optimizer=optimizer.state_dict(),
        bank=bank.state_dict(),
        progress=Progress(
            Position(0, 2, 5, digest="d" * 64, batch_size=8, window=16), stage="2", step=7
        ),
        history=[epoch_entry()],
        bad_samples=[{"split": "train", "shard": "a", "key": "k", "reason": "r"}],
        config=Config().model_dump(mode="json"),
        labels=("a", "b"),
        skipped_steps=[{**skipped, "images": 8, "suspects": 1, "keys": ["k"]}],
        tally=tally.state_dict(),
        statistics=torch.zeros(2, 2, dtype=torch.float64),
        seconds={"data": 1.5, "backward": 30.0},
    )
