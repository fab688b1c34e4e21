"""The training loop's session inside a Ray Train worker."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import ray.train
import ray.train.torch
import torch


class RaySession:
    """Reports through `ray.train.report`, restores from `ray.train.get_checkpoint`."""

    @property
    def device(self) -> torch.device:
        """The GPU that Ray gave this worker, or the CPU."""
        device: torch.device = ray.train.torch.get_device()
        return device

    def report(self, metrics: Mapping[str, float], checkpoint: Path | None, name: str) -> None:
        """Upload the checkpoint; returns on each rank when that rank's upload is done.

        A checkpoint counts only once every rank has reported it, so a crash in between leaves
        the previous one as the latest.
        """
        ray.train.report(
            dict(metrics),
            checkpoint=None if checkpoint is None else ray.train.Checkpoint(str(checkpoint)),
            checkpoint_dir_name=name,
            delete_local_checkpoint_after_upload=True,
        )

    @contextmanager
    def restore(self) -> Iterator[Path | None]:
        """A local copy of the latest checkpoint."""
        latest = ray.train.get_checkpoint()
        if latest is None:
            yield None
            return
        with latest.as_directory() as folder:
            yield Path(folder)
