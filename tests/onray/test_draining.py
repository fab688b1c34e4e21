"""How many workers an elastic run is given while machines are taken back."""

import pytest
import ray._private.state
from ray.train.v2._internal.execution.scaling_policy import ResizeDecision

from retdm.onray import draining
from retdm.onray.draining import LeaveOutDraining
from retdm.onray.workers import Workers

NODES = [
    {"NodeID": "a", "Alive": True, "Resources": {"CPU": 4.0}},
    {"NodeID": "b", "Alive": True, "Resources": {"CPU": 5.0}},
    {"NodeID": "c", "Alive": False, "Resources": {"CPU": 64.0}},
]


@pytest.mark.parametrize(
    ("low", "leaving", "wanted"),
    [(1, {}, 4), (1, {"a": 0}, 2), (2, {"a": 0}, 2), (3, {"a": 0}, 4), (1, {"a": 0, "b": 0}, 4)],
)
def test_workers_are_asked_for_where_machines_stay(monkeypatch, low, leaving, wanted):
    monkeypatch.setattr(draining.ray, "nodes", lambda: NODES)
    monkeypatch.setattr(ray._private.state.state, "get_draining_nodes", lambda: leaving)
    decision = ResizeDecision(num_workers=4, resources_per_worker={"CPU": 2.0})
    LeaveOutDraining(Workers(low, 4)).before_controller_execute_resize_decision(decision)
    assert decision.num_workers == wanted
