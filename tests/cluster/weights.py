"""The model that settings ask for, made without memory for its weights."""

import functools

from retdm.config import Config

_LABELS = 80


def num_weights(config: Config) -> int:
    """How many there are.

    Raises:
        ConfigError: If no method or backbone has the name, or a stage trains what no loss reaches.
    """
    return _num_weights(config.model_dump_json(include={"method", "model", "loss", "stages"}))


@functools.cache
def _num_weights(settings: str) -> int:
    import torch

    from retdm.methods import build_method

    with torch.device("meta"):
        made = build_method(Config.model_validate_json(settings), _LABELS, load_weights=False)
    return sum(one.numel() for one in made.parameters())
