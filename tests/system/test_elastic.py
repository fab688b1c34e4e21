"""A real run whose workers become more and fewer goes as one that has the most all the time."""

import json
import time

import pytest
import torch

from retdm.storage import join_url, open_store
from tests.system.elastic_cluster import NODE, cluster, drain
from tests.system.test_coco_to_result import shards
from tests.system.training import command, finish, newest, reach, seen, start

__all__ = ["cluster", "shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(3600)]
OWN = (
    "run.log_every_steps=1",
    "run.max_failures=0",
    "run.resize_check_s=2",
    "checkpoint.every_steps=1",
    "data.loader_workers=0",
    "data.image_size=64",
    # Without batch normalisation: over a few images it turns rounding into noise within steps.
    "model.backbone=squeezenet1_1",
    "model.dropout=0.3",
    "optimizer.lr=0.001",
    "optimizer.min_lr=0.0001",
    "stages.1.epochs=14",
)
CLOSE = {"rtol": 1e-3, "atol": 1e-4}
"""Sums are taken in another order, in float32, and each step carries on what differs: weights
that are changed in the last bit at the start move the losses of such a run by 1e-4."""


def _losses(storage, name):
    lines = open_store(join_url(storage, name)).read("log.jsonl").decode().splitlines()
    steps = [line for line in map(json.loads, lines) if line["kind"] == "step"]
    assert [line["step"] for line in steps] == list(range(1, len(steps) + 1))
    return torch.tensor([line["total"] for line in steps])


def test_workers_come_and_go_and_the_loss_curve_stays(s3, shards, cluster, tmp_path, capsys):
    storage = s3.url("elastic")
    store = open_store(join_url(storage, "changing"))
    cluster.add_node(num_cpus=1, **NODE)
    with (tmp_path / "changing.log").open("w") as log:
        words = command(shards, storage, "changing", *OWN, workers="1:2")
        driver = start(words, log, ray=cluster.address)
        reach(store, 3, driver, log)
        second = cluster.add_node(num_cpus=1, **NODE)
        added = time.monotonic()
        grown = seen(log, "world_size=2", driver)
        reach(store, newest(store) + 4, driver, log)
        drain(cluster, second, 90)
        drained = time.monotonic()
        seen(log, f"node {second.node_id[:12]} ", driver)
        shrunk = seen(log, f"resuming after step {newest(store)}", driver)
        finish(driver, log)
    # Not a minute of waiting for a second worker that has no place.
    assert "worker group startup timed out" not in (tmp_path / "changing.log").read_text()
    cluster.add_node(num_cpus=1, **NODE)
    with (tmp_path / "fixed.log").open("w") as log:
        words = command(shards, storage, "fixed", *OWN, workers="2")
        finish(start(words, log, ray=cluster.address), log)
    found, wanted = _losses(storage, "changing"), _losses(storage, "fixed")
    worst = ((found - wanted).abs() / wanted).max()
    with capsys.disabled():
        print(
            f"\ntwo workers {grown - added:.0f} s after there was room, one worker "
            f"{shrunk - drained:.0f} s after the drain; {len(found)} losses differ by at most "
            f"{worst:.0e} of themselves"
        )
    torch.testing.assert_close(found, wanted, **CLOSE)
