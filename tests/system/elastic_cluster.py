"""A Ray cluster to which nodes are added, and from which they are taken with a notice."""

import subprocess

import pytest
import ray_head
from ray.cluster_utils import Cluster

from tests.system.test_coco_to_result import ROOT

NODE = {"object_store_memory": 100 * 2**20}
"""Of every node."""


@pytest.fixture
def cluster(s3, monkeypatch):
    """A head without room for workers; nodes can be added."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    head = {"num_cpus": 0, "include_dashboard": False, **NODE}
    one = Cluster(initialize_head=True, head_node_args=head)
    yield one
    one.shutdown()


def drain(cluster, node, notice_s):
    """Tell the cluster that the node will be gone in `notice_s`, as clouds do of spot machines."""
    words = ("drain-node", "--address", cluster.address, "--node-id", node.node_id)
    words += ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test")
    words += ("--deadline-remaining-seconds", str(notice_s))
    subprocess.run([*ray_head.RAY, *words], check=True, timeout=300, cwd=ROOT)
