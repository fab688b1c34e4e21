"""Many runs under one driver leave nothing behind in it, in Ray or on the machine.

With `-s` it prints what there was after each run; `RETDM_LEAK_RUNS=30` makes more of them.
"""

import concurrent.futures
import multiprocessing
import os
import tempfile
import time
from pathlib import Path

import pytest

from tests.conftest import ROOT, long
from tests.footprint import Footprint
from tests.train.conftest import settings

RUNS = int(os.environ.get("RETDM_LEAK_RUNS", "10"))
KEPT = {"DatasetManager", "_AutoscalingCoordinatorActor", "TrainController"}
"""Actors that Ray has once for all runs; and the last run's, by a handler of Ctrl-C."""
MEMORY_KIB = 4 << 10
"""A run in the driver; measured: 0.2 to 1.3 MiB, less with each."""
REST_S = 300


def _runs(shards, storage, folder):
    """What the driver, and it with all of Ray's processes, held after each run, at rest."""
    # That a machine is busy, or its memory used by others, is no fault here.
    os.environ |= {"RAY_raylet_start_wait_time_s": "600", "RAY_memory_monitor_refresh_ms": "0"}
    import ray
    import ray.util.state

    from retdm.onray.launch import run_on_ray
    from retdm.onray.workers import Workers

    os.environ["PYTHONPATH"] = str(ROOT)
    temporary = Path(folder, "t")
    temporary.mkdir()
    os.environ["TMPDIR"] = tempfile.tempdir = str(temporary)
    ray.init(num_cpus=2, _temp_dir=str(Path(folder, "r")), log_to_driver=False)
    # Or the state API asks which of the machine's clusters is meant.
    ours = {"address": ray.get_runtime_context().gcs_address}
    config = settings(shards, "method=bce", "model.backbone=timm:test_resnet", "stages.3.epochs=0")

    def left():
        """Actors and placement groups that no other run needs."""
        actors = ray.util.state.list_actors(**ours, filters=[("state", "!=", "DEAD")])
        names = [actor.class_name for actor in actors]
        groups = ray.util.state.list_placement_groups(**ours, filters=[("state", "!=", "REMOVED")])
        once = [name for name in KEPT if name in names]
        return sorted(names) != sorted(once) or bool(groups)

    drivers, trees = [], []
    for number in range(RUNS):
        run_on_ray(config, storage=storage, name=str(number), workers=Workers(1, 1), resume="auto")
        deadline = time.monotonic() + REST_S
        while left():
            assert time.monotonic() < deadline, "actors or placement groups outlive their run"
            time.sleep(1)
        tree = Footprint.of(os.getpid(), temporary)
        # Processes end a moment after their actors.
        while trees and tree.processes > trees[-1].processes and time.monotonic() < deadline:
            time.sleep(1)
            tree = Footprint.of(os.getpid(), temporary)
        trees.append(tree)
        drivers.append(Footprint.of(os.getpid(), temporary, below=False))
    ray.shutdown()
    return drivers, trees


@long
@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(3000)
def test_runs_under_one_driver_leave_nothing_behind(shards, tmp_path):
    context = multiprocessing.get_context("spawn")
    with (
        tempfile.TemporaryDirectory(prefix="leaks-", dir="/tmp") as folder,
        concurrent.futures.ProcessPoolExecutor(1, context) as pool,
    ):
        drivers, trees = pool.submit(_runs, shards, str(tmp_path), folder).result()
    for driver, tree in zip(drivers, trees, strict=True):
        print(f"\ndriver {driver}\nwith Ray {tree}")
    after = RUNS - 2  # the first run warms up
    grown = {
        (whose, name): (getattr(held[1], name), getattr(held[-1], name))
        for whose, held, names in (
            ("driver", drivers, ("descriptors", "threads", "shared_memory", "files")),
            # Not the descriptors: Ray's log monitor keeps up to 200 logs of ended workers open.
            ("Ray", trees, ("processes", "shared_memory")),
        )
        for name in names
        if getattr(held[-1], name) - getattr(held[1], name) > after // 2
    }
    assert grown == {}
    assert drivers[-1].memory_kib - drivers[1].memory_kib < MEMORY_KIB * after
