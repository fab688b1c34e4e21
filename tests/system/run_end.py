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
        torch.testing.assert_close(
            getattr(one[0], part), getattr(other[0], part), rtol=0, atol=0
        )
