"""A Ray cluster to which nodes are added, and from which they are taken with a notice."""

import shutil
import tempfile
import time

import background
import pytest
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from tests.system.test_coco_to_result import ROOT

NODE = {"object_store_memory": 100 * 2**20}
"""Of every node."""


@pytest.fixture
def cluster(s3, monkeypatch):
    """A head without room for workers; nodes can be added."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    # Of its own, or other programs on this machine would join it. Paths of sockets are short.
    folder = tempfile.mkdtemp(prefix="retdm-ray-", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    port = background.free_port(8265)
    head = {"num_cpus": 0, "include_dashboard": False, "dashboard_port": port, **NODE}
    one = Cluster(initialize_head=True, head_node_args=head)
    yield one
    one.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def drain(cluster, node, notice_s):
    """As `ray drain-node` does, and Ray's autoscaler, when a cloud takes a spot machine back."""
    deadline_ms = int((time.time() + notice_s) * 1000)
    why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, wrong = GcsClient(address=cluster.address).drain_node(
        node.node_id, why, "test", deadline_ms
    )
    assert accepted, wrong
