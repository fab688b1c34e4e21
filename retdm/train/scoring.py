"""Scores of a whole split, computed by all ranks, each image counted exactly once."""

from collections.abc import Callable

import numpy as np
import numpy.typing as npt
import torch

from retdm import comm
from retdm.config import DataSettings
from retdm.data.bad import BadSamples
from retdm.data.loader import EvaluationLoader
from retdm.data.split import SplitData
from retdm.methods import Method

Scored = tuple[npt.NDArray[np.float32], npt.NDArray[np.bool_]]
"""Scores and targets, each of shape (samples, labels)."""


def agree(bad: BadSamples, *, url: str) -> None:
    """Make every rank know the bad images that any rank has met; all ranks must call this.

    Raises:
        BadSampleError: On all ranks, if together they are more than the limit.
    """
    bad.merge(comm.gather_objects(bad.samples()), url=url)


def open_loader(
    data: SplitData, settings: DataSettings, device: torch.device, *, bad: BadSamples
) -> EvaluationLoader:
    """This rank's part of a split, each image once over all ranks; to be closed."""
    return EvaluationLoader(
        data,
        settings,
        rank=comm.rank(),
        world_size=comm.world_size(),
        batch_size=settings.batch_size,
        bad=bad,
        pin_memory=device.type == "cuda",
    )


def score_split(
    method: Method,
    data: SplitData,
    settings: DataSettings,
    device: torch.device,
    *,
    bad: BadSamples,
    meanwhile: Callable[[], None] = lambda: None,
) -> Scored:
    """Scores and targets of all images, each of shape (samples, labels), in table order.

    Every rank must call this; every rank gets the whole matrices. Scores are probabilities in
    [0, 1]. Images that turn out bad are left out and noted. `meanwhile` is called after every
    batch, of which all ranks have equally many; what it raises ends this.

    Raises:
        BadSampleError: If there are more of them than `bad` allows for.
    """
    _, scores, targets = score_rows(method, data, settings, device, bad=bad, meanwhile=meanwhile)
    return scores, targets


@torch.inference_mode()
def score_rows(
    method: Method,
    data: SplitData,
    settings: DataSettings,
    device: torch.device,
    *,
    bad: BadSamples,
    meanwhile: Callable[[], None] = lambda: None,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """As `score_split`, with the row of the label table that each image has in front."""
    loader = open_loader(data, settings, device, bad=bad)
    indices, scores = [], []
    try:
        for batch in loader.batches():
            on_device = batch.to(device)
            # Padding rows repeat a sample of the batch; -1 drops them after the gather.
            indices.append(torch.where(on_device.valid, on_device.indices, -1))
            scores.append(method.scores(on_device.images))
            meanwhile()
    finally:
        loader.close()
    rows = comm.gather_rows(torch.cat(indices)).cpu().numpy()
    values = comm.gather_rows(torch.cat(scores)).cpu().numpy()
    agree(bad, url=data.url)
    left_out = sum(sample.split == data.split for sample in bad.samples())
    return _in_table_order(rows, values, data.table.targets, left_out)


def _in_table_order(
    rows: npt.NDArray[np.int64],
    values: npt.NDArray[np.float32],
    targets: npt.NDArray[np.bool_],
    left_out: int,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
    """Drop padding (row -1), sort the rest, and put the targets beside."""
    real = rows >= 0
    order = np.argsort(rows[real])
    scored = rows[real][order]
    assert len(np.unique(scored)) == len(scored), "an image was scored twice"
    assert len(scored) == len(targets) - left_out, "an image was not scored"
    return scored, values[real][order], targets[scored]
