"""Writes a bundle; see `retdm.predictor.bundle` for what is in one."""

import hashlib

from torch import Tensor

from retdm.errors import ConfigError
from retdm.export.card import card
from retdm.export.measured import Measured
from retdm.predictor import Predictor
from retdm.predictor.bundle import CARD, DESCRIPTION, WEIGHTS, Description, Preprocessing, need
from retdm.storage import Store
from retdm.storage.place import refuse_file


def check_place(store: Store, *, given: str) -> None:
    """See that a bundle can be written into `store`, which the user named so.

    Raises:
        ConfigError: If something that a bundle consists of is there already, or a file stands
            where the folder is to be.
    """
    refuse_file(store, given=given)
    for name in (DESCRIPTION, WEIGHTS, CARD):
        if store.size(name) is not None:
            raise ConfigError(f"{given}: there is a {name} already; give another folder")


def write_bundle(store: Store, model: Predictor, figures: Measured) -> None:
    """Write the model as a bundle, its description last.

    Raises:
        ConfigError: If safetensors is not installed.
        StorageError: If it cannot be written.
    """
    need("safetensors", to="a bundle")
    from safetensors.torch import save

    weights = save({name: _plain(value) for name, value in model.method.state_dict().items()})
    about = describe(model, figures, weights_sha256=hashlib.sha256(weights).hexdigest())
    store.write(WEIGHTS, weights)
    store.write(CARD, card(about, model.method.reading).encode())
    store.write(DESCRIPTION, about.model_dump_json(indent=1).encode() + b"\n")


def describe(model: Predictor, figures: Measured, *, weights_sha256: str) -> Description:
    """All that a bundle says beside the weights."""
    thresholds = None
    if model.fitted is not None:
        thresholds = dict(zip(model.labels, model.fitted.tolist(), strict=True))
    return Description(
        run=model.origin.run,
        checkpoint=model.origin.checkpoint,
        data=figures.data,
        data_digest=model.origin.data_digest,
        labels=model.labels,
        threshold=model.config.run.threshold,
        thresholds=thresholds,
        preprocessing=preprocessing(model),
        metrics=figures.metrics,
        versions=figures.versions,
        config=model.config.model_dump(mode="json"),
        weights_sha256=weights_sha256,
    )


def preprocessing(model: Predictor) -> Preprocessing:
    """How the model sees images."""
    return Preprocessing(size=model.decoder.size, resize=model.decoder.resize)


def _plain(value: Tensor) -> Tensor:
    """On the CPU, its elements in order: convolutions have their channels last."""
    return value.detach().cpu().contiguous()
