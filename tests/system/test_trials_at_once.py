"""Trials for which there is no room wait without holding any of it, and run when there is."""

import json
import re
import time
from pathlib import Path

import pytest
import ray
from ray.util import placement_group, placement_group_table, remove_placement_group

from retdm.storage import join_url, open_store
from tests.conftest import long
from tests.system.elastic_cluster import NODE, cluster
from tests.system.test_coco_to_result import ROOT, SETTINGS, shards
from tests.system.training import finish, seen, start

__all__ = ["cluster", "shards"]
pytestmark = [long, pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
TUNE = (
    "tune.space.stages.3.lr={choice=[0.02, 0.01, 0.005]}",
    "tune.sampler=grid",
    "tune.prune=none",
    "data.loader_workers=0",
)
NO_ROOM = "the cluster has no room for 2 workers"


@pytest.fixture
def four_cores(monkeypatch, request):
    """A cluster with four cores on two machines, which this process joins."""
    # Or each vain attempt to place workers takes a minute.
    monkeypatch.setenv("RAY_TRAIN_WORKER_GROUP_START_TIMEOUT_S", "5")
    cluster = request.getfixturevalue("cluster")
    for _ in range(2):
        cluster.add_node(num_cpus=2, **NODE)
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()


def _states():
    """Of the groups of two workers each, as Ray has them now."""
    groups = placement_group_table().values()
    return sorted(
        one["state"]
        for one in groups
        if [bundle.get("CPU") for bundle in one["bundles"].values()] == [1, 1]
        and one["state"] != "REMOVED"
    )


def test_three_trials_that_are_too_many_all_end_and_none_holds_half_of_its_workers(
    shards, four_cores, tmp_path
):
    pairs = [f"data.url={shards}", *SETTINGS, *TUNE]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    words = ["jobs/tune.py", str(ROOT / "jobs/recipes/demo.toml"), *overrides]
    words += ["--storage", str(tmp_path), "--run-name", "lr", "--workers", "2"]
    with (tmp_path / "log").open("w") as log:
        driver = start([*words, "--concurrency", "3"], log, ray=four_cores.address)
        # Another program takes three of four cores as soon as the shared stage leaves them.
        seen(log, "stage 1 epoch 1/1", driver)
        other = placement_group([{"CPU": 1}] * 3)
        ray.get(other.ready(), timeout=300)
        while Path(log.name).read_text().count(NO_ROOM) < 6:
            assert driver.poll() is None, Path(log.name).read_text()[-3000:]
            time.sleep(0.1)
        assert _states() in ([], ["PENDING"], ["PENDING"] * 2, ["PENDING"] * 3)
        assert ray.available_resources()["CPU"] == 1
        remove_placement_group(other)
        found = set()
        while driver.poll() is None:
            found.add(tuple(_states()))
            time.sleep(0.1)
        finish(driver, log)
    assert ("CREATED", "CREATED", "PENDING") in found
    assert max(states.count("CREATED") for states in found) == 2
    text = (tmp_path / "log").read_text()
    assert "3 trials to run, 3 at a time" in text
    for number, rate in enumerate(("0.02", "0.01", "0.005")):
        begun = re.search(rf"trial {number} \(stages.3.lr = {rate}\): begins", text)
        ended = re.search(rf"trial {number} \(stages.3.lr = {rate}\): mAP ", text)
        assert begun.start() < text.rindex(NO_ROOM) < ended.start()
    trials = json.loads(open_store(join_url(str(tmp_path), "lr")).read("tune.json"))["trials"]
    assert [one["state"] for one in trials] == ["complete"] * 3
