"""What the steps of an epoch were like, summed up; goes into checkpoints inside the epoch."""

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor

from retdm import comm
from retdm.methods import Diagnosis


@dataclass
class EpochSummary:
    """What one epoch was like."""

    means: dict[str, float] = field(default_factory=dict)
    """Mean of each loss part over the epoch's steps, global batches."""
    images: int = 0
    seconds: float = 0.0
    wait_seconds: float = 0.0
    """Time this rank waited for data."""
    diagnose: Callable[[], Diagnosis | None] = lambda: None
    """Says how the embeddings stand behind the epoch; on rank 0 alone, and once: it begins the
    count of what has happened since anew."""


class EpochTally:
    """Sums over the steps of one epoch, on this rank.

    Loss parts of the steps since the last log line are shares of this rank, on the device; those
    before are numbers, summed over ranks. All in float64: finite parts never add up to infinity.
    """

    def __init__(self) -> None:
        self.images = 0
        self.wait_seconds = 0.0
        self._steps = 0
        self._totals: dict[str, float] = {}
        self._open_steps = 0
        self._open: dict[str, Tensor] = {}
        self._earlier_s = 0.0
        self._started = time.perf_counter()

    @property
    def steps(self) -> int:
        """Steps counted."""
        return self._steps

    @property
    def open_steps(self) -> int:
        """Those since the last log line."""
        return self._open_steps

    def add(self, parts: Mapping[str, Tensor], images: int) -> None:
        """Count one step: this rank's shares of its loss parts, and its global batch."""
        for name, value in parts.items():
            share = value.detach().double()
            self._open[name] = self._open[name] + share if name in self._open else share
        self._open_steps += 1
        self._steps += 1
        self.images += images

    def skip(self, images: int) -> None:
        """Count the images of a step that had no effect, for they took their time."""
        self.images += images

    def close_line(self) -> dict[str, float]:
        """Means per step since the last line, global batches; every rank calls this.

        There has to be a step since.
        """
        names = sorted(self._open)
        summed = comm.all_sum(torch.stack([self._open[name] for name in names])).tolist()
        steps, self._open_steps, self._open = self._open_steps, 0, {}
        sums = dict(zip(names, summed, strict=True))
        for name, value in sums.items():
            self._totals[name] = self._totals.get(name, 0.0) + value
        return {name: value / steps for name, value in sums.items()}

    def summary(self) -> EpochSummary:
        """The epoch, if all lines are closed."""
        means = {name: value / max(self._steps, 1) for name, value in self._totals.items()}
        return EpochSummary(means, self.images, self._seconds(), self.wait_seconds)

    def _seconds(self) -> float:
        return self._earlier_s + time.perf_counter() - self._started

    def state_dict(self) -> dict[str, Any]:
        """The sums of all ranks, for a checkpoint; every rank calls this."""
        names = sorted(self._open)
        state: dict[str, Any] = {
            "steps": self._steps,
            "images": self.images,
            "seconds": self._seconds(),
            "wait_seconds": self.wait_seconds,
            "totals": dict(self._totals),
            "open_steps": self._open_steps,
            "open_names": names,
        }
        if names:
            row = torch.stack([self._open[name] for name in names])
            state["open"] = comm.gather_rows(row[None])
        return state

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """Go on counting where `state_dict` was taken; on other ranks, up to rounding."""
        self._steps, self.images = state["steps"], state["images"]
        self._earlier_s, self.wait_seconds = state["seconds"], state["wait_seconds"]
        self._totals, self._open_steps = dict(state["totals"]), state["open_steps"]
        if not state["open_names"]:
            return
        rows: Tensor = state["open"]
        if len(rows) == comm.world_size():
            own = rows[comm.rank()]
        else:
            own = rows.sum(0) if comm.rank() == 0 else torch.zeros_like(rows[0])
        self._open = dict(zip(state["open_names"], own.unbind(), strict=True))
