"""Runs over hosts of their own addresses whose cables and machines fail; S3 is on another host.

All must end as the same workers on one host do, bit for bit, and nobody may wait for longer
than the settings say. One of these tests always runs. RETDM_LONG=1 runs all, and with `-s` shows
how long each recovery took, beside a clean start: from that of the program to its first step.
"""

import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass

import pytest
import s3_server

from tests.conftest import long
from tests.system import hosts
from tests.system.ray_on_hosts import NODE_DEAD_S, ROOT, Cluster, Training
from tests.system.run_end import assert_same_end, end_of
from tests.system.training import command

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
COLLECTIVE_S = 20
SLACK_S = 60
"""For a machine that does much else."""
OWN = (
    "model.backbone=resnet18",  # its steps are slow enough for it to train when a cable is cut
    "run.log_every_steps=1",
    f"run.collective_timeout_s={COLLECTIVE_S}",
    "checkpoint.every_steps=2",
    "data.loader_workers=0",
    "stages.1.epochs=5",
    "stages.3.epochs=2",
)
SHARDS, STORAGE = "s3://tests/scenes", "s3://tests/runs"
STEP = r"stage \d epoch .* \d/3 batch"
MIDDLE = r"stage 1 epoch 3/5 .* 1/3 batch"


def _arguments(network, name, *settings, workers=2):
    """Of Python, for a run whose cache is in each host's own folder."""
    cache = f"data.cache_dir={network.own}/cache"
    return command(SHARDS, STORAGE, name, cache, *OWN, *settings, workers=str(workers))


def _python(*arguments):
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, *arguments], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stdout + done.stderr


def _on_one_host(network, server, workers):
    """The end of a run all of whose workers are on one host."""
    host, name = network.host(f"host-of-{workers}"), f"together-{workers}"
    cluster = Cluster(network, host, server[1], cores=workers)
    cluster.await_nodes(1)
    run = Training(cluster, host, *_arguments(network, name, workers=workers))
    _finish(run)
    host.power_off()
    return end_of(STORAGE, name)


@pytest.fixture(scope="module")
def single(network, server):
    """The end of the run of two workers on one host."""
    photos, sizes = network.folder / "photos", ("--images", "64", "--size", "48")
    _python("-m", "retdm.datasets.synthetic", "--out", str(photos), *sizes)
    options = ("options.images=64", "options.size=48", "shards.samples=10")
    _python(
        "-m", "retdm.shard", "build", "shards/synthetic.toml", "--source", str(photos),
        "--out", SHARDS, *(word for pair in options for word in ("--set", pair)),
    )  # fmt: skip
    return _on_one_host(network, server, 2)


@dataclass
class Site:
    """Hosts with Ray on them and one core each: every worker is on a host of its own."""

    network: hosts.Network
    cluster: Cluster
    head: hosts.Host
    other: hosts.Host

    def train(self, name, *settings, workers=2):
        """Begin a run on the head."""
        arguments = _arguments(self.network, name, *settings, workers=workers)
        return Training(self.cluster, self.head, *arguments)


@pytest.fixture(scope="module")
def site(network, server, single):
    head, other = network.host("host-a"), network.host("host-b")
    cluster = Cluster(network, head, server[1])
    cluster.join(other)
    cluster.await_nodes(2)
    return Site(network, cluster, head, other)


@pytest.fixture(scope="module")
def rows():
    """Lines of the table that is shown at the end."""
    lines = []
    yield lines
    if lines:
        head = "what", "told after, s", "next step after, s", "clean start, s", "ratio", "lost"
        print(*("| " + " | ".join(line) + " |" for line in [head, ("---",) * 6, *lines]), sep="\n")


def _row(what, run, fault, *, told=None, again=None):
    """A line of the table.

    Args:
        what: Happened.
        run: To whom; it has begun once and gone on.
        fault: When it happened.
        told: When the run said so, if it was started again.
        again: The later run that goes on with it, if it was ended.
    """
    later, start = again or run, run.await_line(STEP) - run.began
    resumed, lost = fault, 0
    if told:
        resumed = later.await_line(r"resuming after step \d+", after=told)
        line = next(line for at, line in later.lines if at == resumed)
        done = len({line for at, line in run.lines if at <= told and re.search(STEP, line)})
        lost = done - int(re.findall(r"after step (\d+)", line)[-1])
    went_on = later.await_line(STEP, after=resumed) - fault
    news = f"{told - fault:.0f}" if told else "-"
    return what, news, f"{went_on:.0f}", f"{start:.0f}", f"{went_on / start:.2f}", str(lost)


def _finish(run, *, restarts=0):
    assert run.finish() == 0, run.text()
    assert run.text().count("worker group failed") == restarts, run.text()


def test_a_host_that_loses_power_and_comes_back_changes_nothing(site, single, rows):
    run = site.train("power")
    run.await_line(MIDDLE)
    fault = time.monotonic()
    site.other.power_off()
    told = run.await_line("worker group failed", after=fault)
    assert told - fault < max(COLLECTIVE_S, NODE_DEAD_S) + SLACK_S, run.text()
    site.other.power_on()
    site.cluster.join(site.other)
    rows.append(_row("host without power, back at once", run, fault, told=told))
    _finish(run, restarts=1)
    line, address = next(line for at, line in run.lines if at == told), re.escape(site.other.ip)
    assert re.search(rf"failed: rank \d.* on {address} .*; restart 1 of 3$", line), line
    assert_same_end(end_of(STORAGE, "power"), single)


@long
def test_a_host_that_stays_away_is_named_while_the_run_waits_for_it(site, single, rows):
    run = site.train("away")
    run.await_line(MIDDLE)
    fault = time.monotonic()
    site.other.power_off()
    told = run.await_line("worker group failed", after=fault)
    there, lost = re.escape(site.head.ip), re.escape(site.other.ip)
    run.await_line(f"no room for 2 workers: it is now {there} without {lost}; waiting", after=told)
    site.other.power_on()
    site.cluster.join(site.other)
    rows.append(_row("host without power, back after a while", run, fault, told=told))
    _finish(run, restarts=1)
    assert "Traceback" not in run.text(), run.text()
    assert_same_end(end_of(STORAGE, "away"), single)


@long
def test_a_host_that_is_cut_off_is_named_in_the_error_and_the_same_command_goes_on(
    site, single, rows
):
    run = site.train("cut", "run.max_failures=0")
    run.await_line(MIDDLE)
    fault = time.monotonic()
    site.other.cut()
    told = run.await_line("^error: ", after=fault)
    assert told - fault < max(COLLECTIVE_S, NODE_DEAD_S) + SLACK_S, run.text()
    assert run.finish() == 1, run.text()
    error, address = run.lines[-1][1], re.escape(site.other.ip)
    assert re.match(rf"error: rank \d.* on {address} .*; the workers failed once", error), error
    site.other.mend()
    # Ray ends on a host that the head has given up, as soon as it hears of that.
    for _ in range(int(10 * (NODE_DEAD_S + SLACK_S))):
        if site.cluster.has_left(site.other):
            break
        time.sleep(0.1)
    site.cluster.join(site.other)
    site.cluster.await_nodes(2)
    again = site.train("cut", "run.max_failures=0")
    rows.append(_row("host cut off, same command again", run, fault, told=told, again=again))
    _finish(again)
    assert_same_end(end_of(STORAGE, "cut"), single)


@long
def test_a_link_that_is_cut_for_seconds_costs_no_restart(site, single, rows):
    run = site.train("blip")
    run.await_line(MIDDLE)
    site.other.cut()
    time.sleep(6)
    site.other.mend()
    rows.append(_row("host cut off for 6 s, from its return", run, time.monotonic()))
    _finish(run)
    assert_same_end(end_of(STORAGE, "blip"), single)


@long
def test_an_s3_server_that_is_started_again_costs_no_restart(site, server, single, rows):
    run = site.train("s3")
    run.await_line(MIDDLE)
    s3_server.stop(server[0])
    time.sleep(10)
    assert s3_server.start(server[0], tied=True, address=site.network.ip) == server[1]
    rows.append(_row("S3 server away for 10 s, from its return", run, time.monotonic()))
    _finish(run)
    assert_same_end(end_of(STORAGE, "s3"), single)


@long
def test_slow_and_lossy_links_change_nothing_but_the_time(site, single, rows):
    if reason := hosts.missing_for_faults():
        pytest.skip(reason)
    clean = site.train("clean")
    _finish(clean)
    for host in (site.head, site.other):
        host.narrow(mbit=50)
        host.lose(share=0.01)
    try:
        run = site.train("slow", f"run.collective_timeout_s={10 * COLLECTIVE_S}")
        _finish(run)
    finally:
        for host in (site.head, site.other):
            host.mend()
    took = [one.lines[-1][0] - one.began for one in (run, clean)]
    rows.append(("whole run at 50 Mbit/s, 1 % lost", "-", f"{took[0]:.0f}", f"{took[1]:.0f}",
                 f"{took[0] / took[1]:.2f}", "0"))  # fmt: skip
    assert_same_end(end_of(STORAGE, "slow"), single)


@long
def test_three_hosts_end_as_three_workers_on_one(site, server):
    third = site.network.host("host-c")
    site.cluster.join(third)
    site.cluster.await_nodes(3)
    run = site.train("three", workers=3)
    _finish(run)
    assert all(host.ip in run.text() for host in (site.head, site.other, third)), run.text()
    third.power_off()
    assert_same_end(end_of(STORAGE, "three"), _on_one_host(site.network, server, 3))
