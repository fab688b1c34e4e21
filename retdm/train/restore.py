"""Reads a run's checkpoints back, and goes back to an earlier one where the newest is damaged."""

import logging

import torch

from retdm import comm
from retdm.errors import CheckpointError, NotFoundError
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.train import checkpoint
from retdm.train.checkpoint import TrainingState
from retdm.train.history import Kept, kept_checkpoints

log = logging.getLogger(__name__)
_FETCHES = 3


def restore(store: Store, device: torch.device) -> TrainingState | None:
    """The run's newest whole checkpoint; every rank calls this, and all get the same one.

    Returns:
        None for a run that has no checkpoint.

    Raises:
        CheckpointError: If it has some, all of them damaged.
        StorageError: If storage cannot be read.
    """
    kept: list[Kept] = comm.broadcast_object(kept_checkpoints(store) if comm.rank() == 0 else [])
    for one in reversed(kept):
        state, wrong = None, ""
        try:
            state = _fetch(store, one.name, one.sha256, device)
        except (CheckpointError, NotFoundError) as error:
            wrong = str(error)
        problems = [problem for problem in comm.gather_objects(wrong) if problem]
        if not problems:
            return state
        if comm.rank() == 0:
            log.warning("%s; going back to the checkpoint before it", problems[0])
    if kept:
        raise CheckpointError(
            f"{store.url}: none of the run's checkpoints is whole "
            f"({', '.join(one.name for one in kept)}); start again under another --run-name"
        )
    return None


def load_checkpoint(store: Store, name: str, device: torch.device) -> TrainingState:
    """Fetch and read the run's checkpoint called `name`; see `checkpoint_name`.

    Raises:
        CheckpointError: If it is damaged, or the index does not know it.
        NotFoundError: If it is gone.
    """
    digests = {one.name: one.sha256 for one in kept_checkpoints(store)}
    if name not in digests:
        raise CheckpointError(
            f"{store.url}: no checkpoint {name!r}; it has {', '.join(digests) or 'none'}"
        )
    return _fetch(store, name, digests[name], device)


def _fetch(store: Store, name: str, sha256: str, device: torch.device) -> TrainingState:
    file_name = checkpoint.file_of(name)
    with Scratch("load") as folder:
        file = folder / "state.pt"
        # More than once, because bytes can also go wrong on their way.
        for _ in range(_FETCHES):
            store.download(file_name, file)
            found = checkpoint.digest(file)
            if found == sha256:
                return checkpoint.load(file, map_location=device)
        raise CheckpointError(
            f"{store.url}/{file_name}: damaged, its SHA-256 is {found[:12]}..., "
            f"{sha256[:12]}... was written; use an earlier checkpoint of the run"
        )
