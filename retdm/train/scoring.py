"""Scores of a whole split, computed by all ranks, each image counted exactly once."""

import numpy as np
import numpy.typing as npt
import torch

from retdm import comm
from retdm.data import EvaluationLoader
from retdm.methods import Method


@torch.inference_mode()
def score_split(
    method: Method, loader: EvaluationLoader, device: torch.device, *, labels: int
) -> npt.NDArray[np.float32]:
    """Probabilities in [0, 1] of shape (samples, `labels`), in the order of the label table.

    Every rank must call this; every rank gets the whole matrix. Parts are left in the mode
    they were found in.
    """
    modes = {name: part.training for name, part in method.parts.items()}
    method.eval()
    indices, scores = [], []
    for batch in loader.batches():
        on_device = batch.to(device)
        probabilities = method.scores(on_device.images).float()
        # Padding rows repeat a sample of the batch; -1 drops them after the gather.
        indices.append(torch.where(on_device.valid, on_device.indices, -1))
        scores.append(probabilities)
    for name, part in method.parts.items():
        part.train(modes[name])
    rows = comm.gather_rows(torch.cat(indices)).cpu().numpy()
    values = comm.gather_rows(torch.cat(scores)).cpu().numpy()
    return _scatter(rows, values, loader.samples, labels)


def _scatter(
    rows: npt.NDArray[np.int64], values: npt.NDArray[np.float32], samples: int, labels: int
) -> npt.NDArray[np.float32]:
    real = rows >= 0
    counts = np.bincount(rows[real], minlength=samples)
    assert (counts == 1).all(), "an image was scored other than once"
    out = np.empty((samples, labels), dtype=np.float32)
    out[rows[real]] = values[real]
    return out
