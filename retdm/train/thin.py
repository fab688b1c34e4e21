"""Frees the storage of what a run that will never go on has no more use for."""

from retdm.storage import Store
from retdm.train.checkpoint import file_of
from retdm.train.history import finished_epochs, kept_checkpoints, publish, ranked


def thin(store: Store, *, keep_best: int) -> None:
    """Delete all checkpoints of a run but those of its best epochs.

    A run without a finished epoch keeps what it has.

    Args:
        store: Folder of the run, which nobody trains.
        keep_best: As `checkpoint.keep_best`.

    Raises:
        RetdmError: If the storage does not answer, or the run's index is none.
    """
    history, kept = finished_epochs(store), kept_checkpoints(store)
    there = {one.name for one in kept}
    best = ranked([entry for entry in history if entry["checkpoint"] in there])[:keep_best]
    names = {entry["checkpoint"] for entry in best}
    if not names or names == there:
        return
    publish(store, history, [one for one in kept if one.name in names])
    for name in sorted(there - names):
        store.delete(file_of(name))
