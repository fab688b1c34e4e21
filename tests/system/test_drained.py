"""A machine that is taken back while a run trains on it: the run goes on elsewhere, as if not."""

import re
import time
from pathlib import Path

import pytest

from retdm.storage import join_url, open_store
from tests.system.elastic_cluster import NODE, cluster, drain
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import shards
from tests.system.training import (
    STEPS_PER_EPOCH,
    command,
    finish,
    newest,
    reach,
    reached,
    seen,
    start,
)

__all__ = ["cluster", "shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(3600)]
OWN = (
    "model.backbone=resnet18",  # its steps are slow enough for it to train when the notice comes
    "stages.1.epochs=12",
    "run.log_every_steps=1",
    "run.max_failures=0",
    "data.loader_workers=0",
)
NOTICE_S = 90


def test_a_run_leaves_a_drained_node_for_a_spare_one(s3, shards, cluster, tmp_path, capsys):
    storage = s3.url("drained")
    store = open_store(join_url(storage, "cut"))
    leaving = cluster.add_node(num_cpus=2, **NODE)
    with (tmp_path / "cut.log").open("w") as log:
        cut = command(shards, storage, "cut", *OWN)
        driver = start(cut, log, ray=cluster.address)
        reach(store, STEPS_PER_EPOCH, driver, log)
        cluster.add_node(num_cpus=2, **NODE)
        drain(cluster, leaving, NOTICE_S)
        begun = time.monotonic()
        told = seen(log, f"node {leaving.node_id[:12]} ", driver)
        at = newest(store)
        told_of = reached(Path(log.name).read_text())
        again = seen(log, f"resuming after step {at}", driver)
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
    assert_same_end(end_of(storage, "cut"), end_of(storage, "whole"))
