"""A trained run's best checkpoint, looked at on one split of a shard set."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from jaxtyping import Float
from torch import Tensor

from retdm.config import Config
from retdm.data.bad import BadSamples
from retdm.data.split import SplitData, open_split
from retdm.methods import Method
from retdm.storage import Store
from retdm.train.checkpoint import check_labels
from retdm.train.history import checkpoint_name
from retdm.train.restore import load_checkpoint
from retdm.train.result import load_method
from retdm.train.scoring import score_rows


@dataclass(frozen=True, eq=False)
class Evaluated:
    """What came of it; images = those of the split, bad ones left out, in table order."""

    config: Config
    method: Method
    data: SplitData
    checkpoint: str
    """Its name."""
    bad: BadSamples
    rows: npt.NDArray[np.int64]
    """Of each image in the split's label table."""
    scores: npt.NDArray[np.float32]
    """Probabilities in [0, 1], (images, labels)."""
    targets: npt.NDArray[np.bool_]
    embeddings: Float[Tensor, "images embed"]
    """What the image net made of each; on the CPU."""


def evaluate_run(
    store: Store,
    *,
    data_url: str = "",
    split: str,
    begin: Callable[[SplitData, Config], Callable[[], None]] = lambda data, config: lambda: None,
) -> Evaluated:
    """Score a split by the best checkpoint of the run in `store`, in this process alone.

    Args:
        store: The run's folder.
        data_url: Shard set; "" for the one that the run was trained on.
        split: Of the shard set.
        begin: Told of the data once it is open; what it returns is called after every batch.

    Raises:
        CheckpointError: If the run has no finished epoch, its checkpoint is damaged, or it was
            made for other labels.
        BadSampleError: If more images are bad than `data.max_bad_samples` of the run.
    """
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    name = checkpoint_name(store, "best")
    state = load_checkpoint(store, name, device)
    config, method = load_method(state, device)
    data = open_split(data_url or config.data.url, split)
    check_labels(state.label_space, data.label_space, what=store.url, data=data.url)
    bad = BadSamples(config.data.max_bad_samples)
    meanwhile = begin(data, config)
    seen: list[Tensor] = []
    # In one process every batch is whole and in table order, bad images in their places.
    handle = method.parts["image"].register_forward_hook(
        lambda _net, _images, embedded: seen.append(embedded.float().cpu())
    )
    try:
        rows, scores, targets = score_rows(
            method, data, config.data, device, bad=bad, meanwhile=meanwhile
        )
    finally:
        handle.remove()
    return Evaluated(config, method, data, name, bad, rows, scores, targets, torch.cat(seen)[rows])
