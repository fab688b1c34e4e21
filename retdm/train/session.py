"""What a training loop asks of whoever launched it: where to compute, and to hear of epochs."""

from collections.abc import Mapping
from typing import Protocol

import torch


class Session(Protocol):
    """The launcher as the loop sees it; `retdm.onray` has the one that runs on a cluster."""

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""

    def report(self, metrics: Mapping[str, float]) -> None:
        """Hear of a finished epoch; every rank calls it.

        Args:
            metrics: Plain numbers.
        """


class LocalSession:
    """Processes without a launcher, on the CPU: for tests and small experiments."""

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def report(self, metrics: Mapping[str, float]) -> None:
        """The log has them."""
