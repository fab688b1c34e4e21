"""Indexes of checkpoints without the checkpoints."""

from retdm.storage import Store
from retdm.train.history import Kept, publish


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
