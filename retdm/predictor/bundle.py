"""A bundle: a folder that holds a trained model for use, and nothing else.

`model.safetensors` has the network's weights, `bundle.json` all that is needed beside them, and
`README.md` says the same to people. `bundle.json` is written last: without it there is no bundle.
"""

import hashlib
import importlib.util
from typing import Annotated, Any, Literal

import numpy as np
import torch
from pydantic import BaseModel, ConfigDict, Field, JsonValue, ValidationError

from retdm.config import Config, parse
from retdm.errors import CheckpointError, ConfigError, DatasetError
from retdm.json_input import parse_json
from retdm.labels import LabelSpace
from retdm.methods import build_method
from retdm.predictor.model import Origin, Predictor
from retdm.storage import Store

DESCRIPTION, WEIGHTS, CARD = "bundle.json", "model.safetensors", "README.md"
_FETCHES = 3
_Share = Annotated[float, Field(ge=0, le=1)]


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Preprocessing(_Table):
    """From an image file to the network's input; retdm does it, others have to do it alike."""

    size: int
    """Side of the input, pixels."""
    resize: int
    """Side to which the whole image is thought to be resized, whatever its shape, before its
    centre is cut out; it is resampled once."""
    crop: Literal["centre"] = "centre"
    filter: Literal["triangle, as wide as the reduction"] = "triangle, as wide as the reduction"
    input: Literal["uint8 RGB, batch x 3 x size x size"] = "uint8 RGB, batch x 3 x size x size"
    orientation: Literal["upright, by EXIF"] = "upright, by EXIF"
    normalisation: Literal["inside the network"] = "inside the network"


class Description(_Table):
    """The content of `bundle.json`."""

    format: Literal["retdm-bundle"] = "retdm-bundle"
    version: Literal[1] = 1
    run: str
    checkpoint: str
    data: str
    """Name of the shard set; "" if the run has no result."""
    data_digest: str
    labels: tuple[str, ...]
    threshold: _Share
    """The run's, for all labels."""
    thresholds: dict[str, _Share] | None
    """Of each label, fitted on the validation split."""
    preprocessing: Preprocessing
    metrics: dict[str, dict[str, float | None]]
    """By split, as the run's result has them."""
    versions: dict[str, str]
    """Of what the run was trained with."""
    config: dict[str, JsonValue]
    """The run's settings."""
    weights_sha256: str


def is_bundle(store: Store) -> bool:
    """Whether there is a bundle.

    Raises:
        StorageError: If the storage cannot be read.
    """
    return store.size(DESCRIPTION) is not None


def read_description(store: Store) -> Description:
    """What the bundle in `store` says beside its weights.

    Raises:
        CheckpointError: If it is damaged.
        StorageError: If it cannot be read.
    """
    where = f"{store.url}/{DESCRIPTION}"
    try:
        about = Description.model_validate(parse_json(store.read(DESCRIPTION)))
        LabelSpace(about.labels)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(map(str, first["loc"])) or "the file"
        raise CheckpointError(f"{where}: {field}: {first['msg']}; {_AGAIN}") from None
    except (ValueError, DatasetError) as error:
        raise CheckpointError(f"{where}: {error}; {_AGAIN}") from None
    if about.thresholds is not None and about.thresholds.keys() != set(about.labels):
        raise CheckpointError(f"{where}: thresholds of other labels than it lists; {_AGAIN}")
    return about


def load_bundle(store: Store, device: torch.device) -> Predictor:
    """The model of the bundle in `store`.

    Raises:
        CheckpointError: If it is damaged.
        ConfigError: If safetensors is not installed.
        StorageError: If it cannot be read.
    """
    about = read_description(store)
    where = f"{store.url}/{DESCRIPTION}"
    config = parse(Config, about.config, source=f"{where}: config")
    method = build_method(config, labels=len(about.labels), load_weights=False)
    method.load_state_dict(read_weights(store, about.weights_sha256))
    method.to(device).eval()
    fitted = None
    if about.thresholds is not None:
        fitted = np.array([about.thresholds[label] for label in about.labels])
    model = Predictor(
        config=config,
        method=method,
        labels=about.labels,
        fitted=fitted,
        origin=Origin(
            url=store.url,
            run=about.run,
            checkpoint=about.checkpoint,
            data_digest=about.data_digest,
        ),
    )
    said = about.threshold, about.preprocessing.size, about.preprocessing.resize
    if said != (config.run.threshold, model.decoder.size, model.decoder.resize):
        raise CheckpointError(
            f"{where}: threshold and preprocessing are not those of config, by which it was "
            f"trained; {_AGAIN}"
        )
    return model


def need(*modules: str, to: str) -> None:
    """See that packages of the extra "export" are there.

    Raises:
        ConfigError: Names the first that is not, and how to install it.
    """
    for module in modules:
        if not importlib.util.find_spec(module):
            raise ConfigError(
                f"{to} needs {module}, which is not installed; run pip install 'retdm[export]'"
            )


def read_weights(store: Store, sha256: str) -> dict[str, Any]:
    """The tensors of a bundle by name.

    Raises:
        CheckpointError: If they are damaged.
        ConfigError: If safetensors is not installed.
        StorageError: If they cannot be read.
    """
    need("safetensors", to="a bundle")
    from safetensors import SafetensorError
    from safetensors.torch import load

    # More than once, because bytes can also go wrong on their way.
    for _ in range(_FETCHES):
        content = store.read(WEIGHTS)
        found = hashlib.sha256(content).hexdigest()
        if found == sha256:
            break
    else:
        raise CheckpointError(
            f"{store.url}/{WEIGHTS}: its SHA-256 is {found[:12]}..., {DESCRIPTION} says "
            f"{sha256[:12]}...; {_AGAIN}"
        )
    try:
        return load(content)
    except (SafetensorError, KeyError) as error:  # of a kind of number that torch has not
        raise CheckpointError(f"{store.url}/{WEIGHTS}: {error}; {_AGAIN}") from None


_AGAIN = "copy the bundle again, or export it anew"
