"""The training loop's session inside a Ray Train worker."""

from collections.abc import Mapping

import ray.train
import ray.train.torch
import torch


class RaySession:
    """Reports through `ray.train.report`; checkpoints are the run's own affair."""

    @property
    def device(self) -> torch.device:
        """The GPU that Ray gave this worker, or the CPU."""
        device: torch.device = ray.train.torch.get_device()
        return device

    def report(self, metrics: Mapping[str, float]) -> None:
        """Show the epoch in Ray's own views of the run; waits for all ranks."""
        ray.train.report(dict(metrics))
