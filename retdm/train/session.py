"""What a training loop asks of whoever launched it: where to compute, and whether to go on."""

from collections.abc import Callable, Mapping, Sequence
from typing import Protocol

import torch

from retdm.train.metrics import Reading
from retdm.train.notice import Notice


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

    def watch(self, readings: Callable[[], Sequence[Reading]]) -> None:
        """Hear where this rank's metrics can be read, at any time and from any thread."""

    def notice(self) -> Notice | None:
        """Whether training is to stop, as far as this rank knows; asked after every step."""

    def leaving(self, notice: Notice, step: int) -> None:
        """Hear that training ends on a notice; every rank calls it.

        Args:
            notice: The one that all ranks agreed on.
            step: Steps up to the newest checkpoint, which is on storage.
        """


class LocalSession:
    """Processes without a launcher, on the CPU: for tests and small experiments."""

    @property
    def device(self) -> torch.device:
        """The CPU."""
        return torch.device("cpu")

    def report(self, metrics: Mapping[str, float]) -> None:
        """The log has them."""

    def watch(self, readings: Callable[[], Sequence[Reading]]) -> None:
        """Nobody watches."""

    def notice(self) -> Notice | None:
        """None ever comes."""
        return None

    def leaving(self, notice: Notice, step: int) -> None:
        """Nobody asks."""
