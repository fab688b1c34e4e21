"""A machine that is taken back while a run trains on it: the run goes on elsewhere, as if not."""

import re
import shutil
import tempfile
import time
from pathlib import Path

import background
import pytest
from ray._raylet import GcsClient
from ray.cluster_utils import Cluster
from ray.core.generated.autoscaler_pb2 import DrainNodeReason

from retdm.storage import join_url, open_store
from tests.system.test_coco_to_result import ROOT, shards
from tests.system.training import (
    STEPS_PER_EPOCH,
    assert_same_end,
    command,
    finish,
    newest,
    reach,
    reached,
    start,
)

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(3600)]
OWN = (
    "stages.1.epochs=8",
    "run.log_every_steps=1",
    "run.max_failures=0",
    "data.loader_workers=0",
)
NOTICE_S = 90
STORE = {"object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(s3, monkeypatch):
    """A Ray cluster of a head without room for workers; nodes can be added."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    # Of its own, or other programs on this machine would join it. Paths of sockets are short.
    folder = tempfile.mkdtemp(prefix="retdm-ray-", dir="/tmp")
    monkeypatch.setenv("RAY_TMPDIR", folder)
    port = background.free_port(8265)
    head = {"num_cpus": 0, "include_dashboard": False, "dashboard_port": port, **STORE}
    one = Cluster(initialize_head=True, head_node_args=head)
    yield one
    one.shutdown()
    shutil.rmtree(folder, ignore_errors=True)


def _drain(cluster, node):
    """As `ray drain-node` does, and Ray's autoscaler, when a cloud takes a spot machine back."""
    deadline_ms = int((time.time() + NOTICE_S) * 1000)
    why = DrainNodeReason.Value("DRAIN_NODE_REASON_PREEMPTION")
    accepted, wrong = GcsClient(address=cluster.address).drain_node(
        node.node_id, why, "test", deadline_ms
    )
    assert accepted, wrong


def _seen(log, text, driver):
    """Wait for a line of the log; return when it was there."""
    while text not in Path(log.name).read_text():
        assert driver.poll() is None, Path(log.name).read_text()[-3000:]
        time.sleep(0.1)
    return time.monotonic()


def test_a_run_leaves_a_drained_node_for_a_spare_one(s3, shards, cluster, tmp_path, capsys):
    storage = s3.url("drained")
    store = open_store(join_url(storage, "cut"))
    leaving = cluster.add_node(num_cpus=2, **STORE)
    with (tmp_path / "cut.log").open("w") as log:
        cut = command(shards, storage, "cut", *OWN)
        driver = start(cut, log, ray=cluster.address)
        reach(store, STEPS_PER_EPOCH, driver, log)
        cluster.add_node(num_cpus=2, **STORE)
        _drain(cluster, leaving)
        begun = time.monotonic()
        told = _seen(log, f"node {leaving.node_id[:12]} ", driver)
        at = newest(store)
        told_of = reached(Path(log.name).read_text())
        again = _seen(log, f"resuming after step {at}", driver)
        finish(driver, log)
    text = (tmp_path / "cut.log").read_text()
    assert re.search(
        rf"is going away in \d+ s \(preemption\); checkpoint at step {at} is written; restarting "
        r"elsewhere \(not counted\)",
        text,
    ), text[-3000:]
    assert told_of <= at
    with capsys.disabled():
        print(
            f"\nnotice heard and checkpoint written within {told - begun:.1f} s of the drain, "
            f"training again after {again - begun:.1f} s; notice of {NOTICE_S} s"
        )
    with (tmp_path / "whole.log").open("w") as log:
        whole = command(shards, storage, "whole", *OWN)
        finish(start(whole, log, ray=cluster.address), log)
    assert_same_end(storage, "cut", "whole")


def test_an_elastic_run_goes_on_with_the_nodes_that_stay(s3, shards, cluster, tmp_path, capsys):
    storage = s3.url("shrunk")
    store = open_store(join_url(storage, "run"))
    leaving = [cluster.add_node(num_cpus=1, **STORE) for _ in range(2)][1]
    with (tmp_path / "log").open("w") as log:
        words = command(shards, storage, "run", *OWN, workers="1:2")
        driver = start(words, log, ray=cluster.address)
        reach(store, STEPS_PER_EPOCH, driver, log)
        _drain(cluster, leaving)
        begun = time.monotonic()
        _seen(log, f"node {leaving.node_id[:12]} ", driver)
        again = _seen(log, f"resuming after step {newest(store)}", driver)
        finish(driver, log)
    with capsys.disabled():
        print(f"\ntraining on one worker {again - begun:.1f} s after the drain")
    # Not a minute of waiting for a second worker that has no place.
    assert "worker group startup timed out" not in (tmp_path / "log").read_text()
