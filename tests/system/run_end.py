"""What a run ends with, and whether two runs ended alike."""

import json
from typing import Any

import torch

from retdm.storage import join_url, open_store
from retdm.train.history import checkpoint_name
from retdm.train.restore import load_checkpoint

TIMINGS = {"images_per_s", "wait_share"}


def end_of(storage: str, name: str) -> tuple[Any, list[dict[str, Any]], dict[str, Any]]:
    """A finished run's last state, its history without timings, and its metrics."""
    store = open_store(join_url(storage, name))
    result = json.loads(store.read("result.json"))
    history = [{k: v for k, v in entry.items() if k not in TIMINGS} for entry in result["history"]]
    state = load_checkpoint(store, checkpoint_name(store, "latest"), torch.device("cpu"))
    return state, history, result["metrics"]


def assert_same_end(one: Any, other: Any) -> None:
    """Bit for bit, in weights, optimizer, bank, history and metrics."""
    assert one[1] == other[1]
    assert one[2] == other[2]
    for part in ("model", "bank", "optimizer"):
        mine, others = (_leaves(getattr(end[0], part), part) for end in (one, other))
        assert mine.keys() == others.keys()
        different = [name for name in mine if not _equal(mine[name], others[name])]
        assert not different, different


def _leaves(value: Any, name: str) -> dict[str, Any]:
    """What there is in nested dictionaries and sequences, by its place."""
    if isinstance(value, dict):
        items = list(value.items())
    elif isinstance(value, list | tuple):
        items = list(enumerate(value))
    else:
        return {name: value}
    return {k: v for key, part in items for k, v in _leaves(part, f"{name}.{key}").items()}


def _equal(one: Any, other: Any) -> bool:
    if isinstance(one, torch.Tensor):
        return torch.equal(one, other)
    return bool(one == other)
