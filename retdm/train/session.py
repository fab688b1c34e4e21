"""What a training loop asks of whoever launched it: reports out, the last checkpoint back in."""

import shutil
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

import torch

from retdm import comm


class Session(Protocol):
    """The launcher as the loop sees it; `retdm.onray` has the one that runs on a cluster."""

    @property
    def device(self) -> torch.device:
        """Where this rank computes."""

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None, name: str) -> None:
        """Hand over an epoch's metrics and this rank's checkpoint folder; every rank calls it.

        Args:
            metrics: Plain numbers; "rank_score" orders checkpoints, higher is better.
            checkpoint: Folder to keep, or None on ranks that save nothing; taken over.
            name: Folder name of the checkpoint in the run.
        """

    def restore(self) -> AbstractContextManager[Path | None]:
        """The folder of the latest whole checkpoint, or None at a fresh start."""


class LocalSession:
    """One process without a launcher: checkpoints are folders under `root`."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.reports: list[dict[str, float]] = []

    @property
    def device(self) -> torch.device:
        """The CPU: this session is for tests and small experiments."""
        return torch.device("cpu")

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None, name: str) -> None:
        """Keep the checkpoint beside the earlier ones."""
        self.reports.append(dict(metrics))
        if checkpoint is not None:
            self.root.mkdir(parents=True, exist_ok=True)
            shutil.move(str(checkpoint), self.root / name)
            (self.root / "latest").write_text(name)
        comm.barrier()

    @contextmanager
    def restore(self) -> Iterator[Path | None]:
        """The folder reported last."""
        pointer = self.root / "latest"
        yield self.root / pointer.read_text() if pointer.exists() else None
