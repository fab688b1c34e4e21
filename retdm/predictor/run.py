"""The model of a run, out of one of its checkpoints."""

import torch

from retdm.predictor.model import Origin, Predictor
from retdm.storage import Store
from retdm.train.history import checkpoint_name
from retdm.train.restore import load_checkpoint
from retdm.train.result import load_method
from retdm.train.thresholds import fitted_thresholds


def load_run(store: Store, checkpoint: str, device: torch.device) -> Predictor:
    """The model of the run in `store`.

    Args:
        store: The run's folder.
        checkpoint: "best", "latest" or the name of one.
        device: Where the network is to be.

    Raises:
        CheckpointError: If there is no such run or checkpoint, or it is damaged.
        StorageError: If the storage cannot be read.
    """
    # Asked for by its name or not, the index is read: it says whether there is a run at all.
    which = checkpoint if checkpoint == "latest" else "best"
    known = checkpoint_name(store, which)
    name = known if checkpoint == which else checkpoint
    state = load_checkpoint(store, name, device)
    config, method = load_method(state, device)
    return Predictor(
        config=config,
        method=method,
        labels=tuple(state.labels),
        fitted=fitted_thresholds(store, state.labels, checkpoint=name),
        origin=Origin(
            url=store.url,
            run=store.url.rpartition("/")[2],
            checkpoint=name,
            data_digest=state.progress.data.digest,
        ),
    )
