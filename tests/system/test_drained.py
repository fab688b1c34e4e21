"""A machine that is taken back while a run trains on it: the run goes on elsewhere, as if not."""

import re
import subprocess
import time
from pathlib import Path

import pytest
import ray_head
from ray.cluster_utils import Cluster

from retdm.storage import join_url, open_store
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import ROOT, shards
from tests.system.training import command, finish, newest, reach, start

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
OWN = ("stages.1.epochs=12", "run.log_every_steps=1", "run.max_failures=0")
STEPS_PER_EPOCH = 3
NOTICE_S = 90
STORE = {"object_store_memory": 100 * 2**20}


@pytest.fixture
def cluster(s3, monkeypatch):
    """A Ray cluster of a head without room for workers; nodes can be added."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("GLOO_SOCKET_IFNAME", "lo")
    monkeypatch.setenv("RAY_memory_monitor_refresh_ms", "0")
    head = {"num_cpus": 0, "include_dashboard": False, **STORE}
    one = Cluster(initialize_head=True, head_node_args=head)
    yield one
    one.shutdown()


def _drain(cluster, node):
    """Tell the cluster that the node will be gone in `NOTICE_S`, as clouds do of spot machines."""
    words = ("drain-node", "--address", cluster.address, "--node-id", node.node_id)
    words += ("--reason", "DRAIN_NODE_REASON_PREEMPTION", "--reason-message", "test")
    words += ("--deadline-remaining-seconds", str(NOTICE_S))
    subprocess.run([*ray_head.RAY, *words], check=True, timeout=300, cwd=ROOT)


def _reached(text):
    """The last step that the run told of in its first stage."""
    told = re.findall(r"stage 1 epoch (\d+)/\d+ \[.*\] (\d+)/\d+ batch", text)
    return max((int(epoch) - 1) * STEPS_PER_EPOCH + int(batch) for epoch, batch in told)


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
        driver = start(cut, log, RAY_ADDRESS=cluster.address)
        reach(store, STEPS_PER_EPOCH, driver, log)
        cluster.add_node(num_cpus=2, **STORE)
        _drain(cluster, leaving)
        begun = time.monotonic()
        told = _seen(log, f"node {leaving.node_id[:12]} ", driver)
        at = newest(store)
        reached = _reached(Path(log.name).read_text())
        again = _seen(log, f"resuming after step {at}", driver)
        finish(driver, log)
    text = (tmp_path / "cut.log").read_text()
    assert re.search(
        rf"is going away in \d+ s \(preemption\); checkpoint at step {at} is written; restarting "
        r"elsewhere \(not counted\)",
        text,
    ), text[-3000:]
    assert reached <= at
    with capsys.disabled():
        print(
            f"\nnotice heard and checkpoint written within {told - begun:.1f} s of the drain, "
            f"training again after {again - begun:.1f} s; notice of {NOTICE_S} s"
        )
    with (tmp_path / "whole.log").open("w") as log:
        whole = command(shards, storage, "whole", *OWN)
        finish(start(whole, log, RAY_ADDRESS=cluster.address), log)
    assert_same_end(end_of(storage, "cut"), end_of(storage, "whole"))


def test_an_elastic_run_goes_on_with_the_nodes_that_stay(s3, shards, cluster, tmp_path, capsys):
    storage = s3.url("shrunk")
    store = open_store(join_url(storage, "run"))
    leaving = [cluster.add_node(num_cpus=1, **STORE) for _ in range(2)][1]
    with (tmp_path / "log").open("w") as log:
        words = command(shards, storage, "run", *OWN, workers="1:2")
        driver = start(words, log, RAY_ADDRESS=cluster.address)
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
