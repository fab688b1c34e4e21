"""Scores of a whole split, computed by all ranks, each image counted exactly once."""

import numpy as np
import numpy.typing as npt
import torch

from retdm import comm
from retdm.config import DataSettings
from retdm.data.loader import EvaluationLoader
from retdm.data.split import SplitData
from retdm.methods import Method


@torch.inference_mode()
def score_split(
    method: Method, data: SplitData, settings: DataSettings, device: torch.device
) -> npt.NDArray[np.float32]:
    """Probabilities in [0, 1] of shape (samples, labels), in the order of the label table.

    Every rank must call this; every rank gets the whole matrix.
    """
    loader = EvaluationLoader(
        data,
        settings,
        rank=comm.rank(),
        world_size=comm.world_size(),
        batch_size=settings.batch_size,
        pin_memory=device.type == "cuda",
    )
    indices, scores = [], []
    try:
        for batch in loader.batches():
            on_device = batch.to(device)
            # Padding rows repeat a sample of the batch; -1 drops them after the gather.
            indices.append(torch.where(on_device.valid, on_device.indices, -1))
            scores.append(method.scores(on_device.images))
    finally:
        loader.close()
    rows = comm.gather_rows(torch.cat(indices)).cpu().numpy()
    values = comm.gather_rows(torch.cat(scores)).cpu().numpy()
    return _scatter(rows, values, len(data), len(data.label_space))


def _scatter(
    rows: npt.NDArray[np.int64], values: npt.NDArray[np.float32], samples: int, labels: int
) -> npt.NDArray[np.float32]:
    real = rows >= 0
    counts = np.bincount(rows[real], minlength=samples)
    assert (counts == 1).all(), "an image was scored other than once"
    out = np.empty((samples, labels), dtype=np.float32)
    out[rows[real]] = values[real]
    return out
