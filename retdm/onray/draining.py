"""Keeps an elastic run from asking for workers on machines that are being taken back.

Ray Train counts them while they live, although nothing new is placed there: after a preemption it
would wait a minute for a group of workers that cannot come together, and then ask for fewer.
"""

from collections.abc import Mapping
from typing import Any

import ray
import ray._private.state
from ray.train.v2._internal.execution.callback import ControllerCallback

from retdm.onray.workers import Workers


class LeaveOutDraining(ControllerCallback):  # type: ignore[misc]
    """In Ray Train's controller: starts an elastic run with the workers that have a place."""

    def __init__(self, workers: Workers) -> None:
        self._workers = workers

    def before_controller_execute_resize_decision(self, resize_decision: Any) -> None:
        """Called before workers are started; Ray starts as many as the decision then says."""
        draining = ray._private.state.state.get_draining_nodes()
        if not draining:
            return
        places = sum(
            places_on(node["Resources"], resize_decision.resources_per_worker)
            for node in ray.nodes()
            if node["Alive"] and node["NodeID"] not in draining
        )
        if self._workers.low <= places < resize_decision.num_workers:
            resize_decision.num_workers = places


def places_on(node: Mapping[str, float], worker: Mapping[str, float]) -> int:
    """How many workers a machine has room for.

    Example:
        >>> places_on({"CPU": 8.0, "GPU": 2.0}, {"CPU": 2.0, "GPU": 1})
        2
    """
    return int(min(node.get(name, 0.0) // need for name, need in worker.items() if need))
