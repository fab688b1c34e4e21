"""What is told while a run waits for machines."""

import pytest
import ray
import ray.train
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)
from ray.train.v2._internal.execution.controller.state import ReschedulingState, RunningState

from retdm.onray.placement import Placement
from retdm.onray.waiting import Waiting
from tests.onray.test_placement import placement_of


@pytest.fixture(autouse=True)
def cluster(monkeypatch):
    """Two machines and a dead one."""
    nodes = [("10.0.0.9", True), ("10.0.0.3", False), ("10.0.0.2", True)]
    monkeypatch.setattr(
        ray, "nodes", lambda: [{"NodeManagerAddress": ip, "Alive": ok} for ip, ok in nodes]
    )


@pytest.mark.parametrize(
    ("placement", "failure", "told"),
    [
        (
            Placement(),
            WorkerGroupStartupTimeoutError(3),
            "the cluster has no room for 3 workers: it is now 10.0.0.2, 10.0.0.9; "
            "waiting, and trying again",
        ),
        (
            placement_of(),
            WorkerGroupStartupTimeoutError(3),
            "the cluster has no room for 3 workers: it is now 10.0.0.2, 10.0.0.9 "
            "without 10.0.0.3; waiting, and trying again",
        ),
        (
            placement_of(),
            WorkerGroupStartupFailedError("a wall of text"),
            "workers were lost while they started: the cluster is now 10.0.0.2, 10.0.0.9 "
            "without 10.0.0.3; waiting, and trying again",
        ),
    ],
)
def test_a_vain_attempt_is_one_line_that_names_the_machines(placement, failure, told, caplog):
    waiting = Waiting(placement)
    state = ReschedulingState(ray.train.ControllerError(failure))
    waiting.after_controller_state_update(None, state)
    assert [record.getMessage() for record in caplog.records] == [told]


def test_other_changes_of_state_say_nothing(caplog):
    Waiting(Placement()).after_controller_state_update(None, RunningState())
    assert not caplog.records
