"""From the URL of a run or of an exported bundle to a model that predicts."""

import torch

from retdm.predictor.model import Predictor
from retdm.storage import open_store


def load(url: str, *, checkpoint: str = "best", device: str = "") -> Predictor:
    """Load the model of a trained run, or of a bundle that `python -m retdm.export` made.

    Nothing in either is executed, and Ray is not needed.

    Args:
        url: The run's folder, or the bundle's: a path or s3:// URL.
        checkpoint: Of a run: "best", "latest" or the name of one.
        device: Of torch, say "cpu"; a GPU if there is one by default.

    Raises:
        CheckpointError: If there is no such run or checkpoint, or it is damaged.
        StorageError: If the storage cannot be read.
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    return _from_run(url, checkpoint, place)


def _from_run(url: str, checkpoint: str, device: torch.device) -> Predictor:
    # Not at the top: it brings what trains, which a bundle does without.
    from retdm.predictor.run import load_run

    return load_run(open_store(url), checkpoint, device)
