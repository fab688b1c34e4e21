"""What a run's result says of its model, as far as there is a result."""

from dataclasses import dataclass
from typing import Any

from pydantic import BaseModel

from retdm.errors import NotFoundError
from retdm.predictor import Predictor
from retdm.storage import Store
from retdm.train.run_file import read_checked

Metrics = dict[str, dict[str, float | None]]


@dataclass(frozen=True, slots=True)
class Measured:
    """Figures of the checkpoint that is exported."""

    metrics: Metrics
    """By split; empty if nothing was measured of this checkpoint."""
    data: str
    """Name of the shard set; "" if the run has no result."""
    versions: dict[str, str]
    """Of what it was trained with."""


class _Result(BaseModel):
    checkpoint: str
    metrics: Metrics
    data: str
    versions: dict[str, str]


def measured(store: Store, model: Predictor) -> Measured:
    """From the result of the run in `store`, whose model is given.

    Raises:
        CheckpointError: If the result is damaged.
    """
    try:
        found: dict[str, Any] = read_checked(
            store, "result.json", _Result, what="the result of a run"
        )
    except NotFoundError:
        return Measured({}, "", {})
    metrics = found["metrics"] if found["checkpoint"] == model.origin.checkpoint else {}
    return Measured(metrics, found["data"], found["versions"])
