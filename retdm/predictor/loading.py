"""From the URL of a run or of an exported bundle to a model that predicts."""

import torch

from retdm.errors import ConfigError
from retdm.predictor.bundle import is_bundle, load_bundle
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
        ConfigError: If a checkpoint of a bundle is asked for, or safetensors is not installed.
        StorageError: If the storage cannot be read.

    Example:
        >>> model = load("s3://bucket/runs/first")  # doctest: +SKIP
        >>> scores = model.scores(["a.jpg", "b.jpg"])  # doctest: +SKIP
        >>> scores.shape == (2, len(model.labels))  # doctest: +SKIP
        True
        >>> labels = model.predict(["a.jpg", "b.jpg"])  # doctest: +SKIP
        >>> labels[0] == [name for name in labels[0] if name in model.labels]  # doctest: +SKIP
        True
        >>> model.embed("a.jpg").shape[0]  # doctest: +SKIP
        1
    """
    place = torch.device(device or ("cuda" if torch.cuda.is_available() else "cpu"))
    store = open_store(url)
    if is_bundle(store):
        if checkpoint != "best":
            raise ConfigError(
                f"{url}: a bundle, which has one checkpoint; {checkpoint!r} can be had of a run"
            )
        return load_bundle(store, place)
    # Not at the top: it brings what trains, which a bundle does without.
    from retdm.predictor.run import load_run

    return load_run(store, checkpoint, place)
