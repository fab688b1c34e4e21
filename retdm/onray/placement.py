"""On which machines a run's workers are, and which of them are out of reach.

A worker that waits for another in vain cannot say which machine is gone: it knows only that some
message did not come. Ray Train's controller can: it asks every worker every two seconds how it
does, and knows where each is.
"""

from ray.train.v2._internal.execution.callback import WorkerGroupCallback
from ray.train.v2._internal.execution.worker_group import WorkerGroup


class Placement(WorkerGroupCallback):  # type: ignore[misc]
    """In Ray Train's controller: follows the workers of each start."""

    def __init__(self) -> None:
        self._group: WorkerGroup | None = None
        self._places: dict[int, str] = {}

    def after_worker_group_start(self, worker_group: WorkerGroup) -> None:
        """Called when all workers are there, before they train."""
        self._group = worker_group
        # It forgets them when it ends.
        self._places = {
            worker.distributed_context.world_rank: worker.metadata.node_ip
            for worker in worker_group.get_workers()
        }

    def addresses(self) -> set[str]:
        """Of the machines on which the workers were the last time; none before the first start."""
        return set(self._places.values())

    def seen_from(self, rank: int) -> str:
        """Where a rank is, and which others did not answer the last time, each with its address.

        Returns:
            "on 10.0.0.2, and rank 1 on 10.0.0.3 does not answer", for example; "" before the
            first start.
        """
        if self._group is None:
            return ""
        # Ray keeps the questions that are not answered yet.
        silent = sorted(set(self._group._world_rank_to_ongoing_poll) - {rank})
        named = ", ".join(f"rank {other} on {self._places[other]}" for other in silent)
        do = "does" if len(silent) == 1 else "do"
        return f"on {self._places[rank]}" + (f", and {named} {do} not answer" if silent else "")
