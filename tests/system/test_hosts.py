"""Runs over hosts of their own addresses whose cables and machines fail; S3 is on a third.

Every run must end as one of two workers on a single machine, bit for bit, and nobody may wait
for longer than the settings say. One of these tests always runs; RETDM_LONG=1 runs all, and
prints how long each recovery took beside a clean start, which is from the start of the program to
its first step.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest
import s3_server

from tests.system import hosts
from tests.system.ray_on_hosts import ROOT, SHARED_MEMORY, Cluster, Training
from tests.system.run_end import assert_same_end, end_of
from tests.system.test_coco_to_result import SETTINGS

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
long = pytest.mark.skipif(os.environ.get("RETDM_LONG") != "1", reason="set RETDM_LONG=1")
COLLECTIVE_S, NODE_DEAD_S = 20, 24
"""What the run waits for a silent peer, and Ray for a silent node at most (`HEALTH`)."""
OWN = (
    "run.deterministic=true",
    "run.log_every_steps=1",
    "run.max_failures=3",
    f"run.collective_timeout_s={COLLECTIVE_S}",
    "checkpoint.every_steps=2",
    "data.loader_workers=0",
    "stages.1.epochs=5",
    "stages.3.epochs=2",
)
STEP = r"stage \d epoch .* \d/3 batch"
MIDDLE = r"stage 1 epoch 3/5 .* 1/3 batch"
LOST = r"worker group failed: .*; restart 1 of 3"


SHARDS, STORAGE = "s3://tests/scenes", "s3://tests/runs"


def _arguments(network, name, *settings, workers=2):
    """Of jobs/train.py, for a run on the S3 server with a cache that is each host's own."""
    cache = f"data.cache_dir={network.own}/cache"
    pairs = [f"data.url={SHARDS}", cache, *SETTINGS, *OWN, *settings]
    overrides = [word for pair in pairs for word in ("--set", pair)]
    run = ("--storage", STORAGE, "--run-name", name, "--workers", str(workers))
    return ["jobs/train.py", str(ROOT / "jobs/recipes/demo.toml"), *overrides, *run]


def _python(*arguments):
    env = {**os.environ, "PYTHONPATH": str(ROOT), "HOME": str(Path.home())}
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT, env=env | SHARED_MEMORY, capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]


@pytest.fixture(scope="module")
def network():
    """A bridge; without root, or where namespaces are forbidden, the tests are skipped."""
    if reason := hosts.missing():
        pytest.skip(reason)
    with hosts.Network() as network:
        yield network


@pytest.fixture(scope="module")
def server(network):
    """The folder and the environment of an S3 server that listens on the bridge."""
    folder = network.folder / "s3"
    environment = s3_server.start(folder, bucket="tests", tied=True, address=network.ip)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield folder, environment
    s3_server.stop(folder)


@pytest.fixture(scope="module")
def single(network, server):
    """The end of a run of two workers on one machine, this one."""
    photos, sizes = network.folder / "photos", ("--images", "64", "--size", "48")
    _python("-m", "retdm.datasets.synthetic", "--out", str(photos), *sizes)
    options = ("options.images=64", "options.size=48", "shards.samples=10")
    _python(
        "-m", "retdm.shard", "build", "shards/synthetic.toml", "--source", str(photos),
        "--out", SHARDS, *(word for pair in options for word in ("--set", pair)),
    )  # fmt: skip
    _python(*_arguments(network, "single"))
    return end_of(STORAGE, "single")


@dataclass
class Site:
    """Two hosts that form a cluster with room for one worker on each."""

    network: hosts.Network
    cluster: Cluster
    head: hosts.Host
    other: hosts.Host

    def train(self, name, *settings, workers=2, **env):
        """Begin a run on the head."""
        arguments = _arguments(self.network, name, *settings, workers=workers)
        return Training(self.cluster, self.head, *arguments, **env)


@pytest.fixture(scope="module")
def site(network, server, single):
    head, other = network.host("host-a"), network.host("host-b")
    cluster = Cluster(network, head, server[1])
    cluster.join(other)
    cluster.await_nodes(2)
    return Site(network, cluster, head, other)


@pytest.fixture(scope="module")
def table():
    """Rows of recoveries; printed at the end."""
    rows = []
    yield rows
    if rows:
        print("\n| what | told after, s | to the next step, s | clean start, s | ratio | steps lost |")
        print("|---|---|---|---|---|---|")
        for row in rows:
            print(f"| {' | '.join(row)} |")


def _steps(run, *, until):
    return len({line for at, line in run.lines if at <= until and re.search(STEP, line)})


def _recovery(run, fault, *, told):
    """Seconds from the fault to the news and to the next step, those of the start; steps lost."""
    again = run.await_line(r"resuming after step \d+", after=told)
    went_on = run.await_line(STEP, after=again)
    resumed = next(line for at, line in run.lines if at == again)
    lost = _steps(run, until=told) - int(re.findall(r"after step (\d+)", resumed)[-1])
    start = run.await_line(STEP) - run.began
    return told - fault, went_on - fault, start, lost


def _row(what, told_s, again_s, start_s, lost):
    return (what, f"{told_s:.0f}", f"{again_s:.0f}", f"{start_s:.0f}",
            f"{again_s / start_s:.2f}", str(lost))  # fmt: skip


def _finish(run):
    assert run.finish() == 0, run.text()


def test_a_host_that_loses_power_and_comes_back_changes_nothing(site, single, table):
    run = site.train("power")
    run.await_line(MIDDLE)
    fault = time.monotonic()
    site.other.power_off()
    told = run.await_line(LOST, after=fault, limit_s=240)
    assert told - fault < COLLECTIVE_S + NODE_DEAD_S + 60, run.text()
    site.other.power_on()
    site.cluster.join(site.other)
    table.append(_row("host without power, back", *_recovery(run, fault, told=told)))
    _finish(run)
    print(run.text())
    assert re.search(LOST, run.text())
    assert site.other.ip in re.search(LOST, run.text())[0], run.text()
    assert_same_end(end_of(STORAGE, "power"), single)
