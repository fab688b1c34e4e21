"""Tells that a run waits for machines, and which it has lost, whenever starting it was in vain.

A cluster may grow, and a machine come back, so Ray Train tries again for ever. Of itself it says
so by tracebacks that name no machine.
"""

import logging
from typing import Any

import ray
from ray.train.v2._internal.exceptions import WorkerGroupStartupTimeoutError
from ray.train.v2._internal.execution.callback import ControllerCallback
from ray.train.v2._internal.execution.controller.state import ReschedulingState

from retdm.onray.failures import FRUITLESS, speak
from retdm.onray.placement import Placement

log = logging.getLogger(__name__)


class Waiting(ControllerCallback):  # type: ignore[misc]
    """In Ray Train's controller: one line for each vain attempt to start the workers."""

    def __init__(self, placement: Placement) -> None:
        self._placement = placement

    def after_controller_start(self, train_run_context: Any) -> None:
        """Called before the first attempt."""
        speak()

    def after_controller_state_update(self, previous_state: Any, current_state: Any) -> None:
        """Called at every change; after a vain attempt workers are to be placed anew."""
        if not isinstance(current_state, ReschedulingState):
            return
        failure = getattr(current_state.training_failed_error, "controller_failure", None)
        if isinstance(failure, FRUITLESS):
            there = {node["NodeManagerAddress"] for node in ray.nodes() if node["Alive"]}
            log.warning("%s", _line(failure, there, self._placement.addresses() - there))


def _line(failure: Exception, there: set[str], lost: set[str]) -> str:
    """What to tell; `there` and `lost` are addresses."""
    what = "workers were lost while they started: the cluster"
    if isinstance(failure, WorkerGroupStartupTimeoutError):
        what = f"the cluster has no room for {failure.num_workers} workers: it"
    gone = f" without {', '.join(sorted(lost))}" if lost else ""
    return f"{what} is now {', '.join(sorted(there))}{gone}; waiting, and trying again"
