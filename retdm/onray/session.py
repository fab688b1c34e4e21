"""The training loop's session inside a Ray Train worker."""

from collections.abc import Callable, Mapping, Sequence

import ray
import ray.train
import ray.train.torch
import torch
from ray.train.v2._internal.execution.context import get_train_context

from retdm import comm
from retdm.onray.preempted import Preempted
from retdm.onray.publishing import Publisher
from retdm.onray.stopping import Ear
from retdm.train.metrics import Reading
from retdm.train.notice import Notice


class RaySession:
    """Reports through `ray.train.report`; checkpoints are the run's own affair."""

    def __init__(self, run: str) -> None:
        """In the worker of a run.

        Args:
            run: URL of its folder.
        """
        self._run = run
        self._ear = Ear(run) if comm.rank() == 0 else None

    @property
    def device(self) -> torch.device:
        """The GPU that Ray gave this worker, or the CPU."""
        device: torch.device = ray.train.torch.get_device()
        return device

    def report(self, metrics: Mapping[str, float]) -> None:
        """Show the epoch in Ray's own views of the run; waits for all ranks."""
        ray.train.report(dict(metrics))

    def watch(self, readings: Callable[[], Sequence[Reading]]) -> None:
        """Show them to Prometheus from now on."""
        Publisher(self._run, comm.rank(), readings).start()

    def notice(self) -> Notice | None:
        """Whether the driver was told to stop, or a worker's machine is taken back."""
        if self._ear is not None and self._ear.told:
            return Notice.STOP
        # `ray.train.get_preemption_info` would wait for all ranks, by way of an actor, at every
        # step. This is what it reads; Ray sets it on every rank.
        if get_train_context().preemption_context.preemption_info is not None:
            return Notice.PREEMPTION
        return None

    def leaving(self, notice: Notice, step: int) -> None:
        """Let the driver know that it can end."""
        if self._ear is not None and notice is Notice.STOP:
            self._ear.left(step)

    def preempted(self, step: int) -> Preempted:
        """What to fail of after a notice, so that Ray starts the workers on other machines."""
        info = get_train_context().preemption_context.preemption_info
        if info is None:  # the notice was heard on other ranks, and is still on its way here
            return Preempted(step)
        addresses = {node["NodeID"]: node["NodeManagerAddress"] for node in ray.nodes()}
        nodes = [f"{node[:12]} ({addresses.get(node)})" for node in info.preempted_node_ids]
        return Preempted(step, " and ".join(nodes), info.deadline_ms)
