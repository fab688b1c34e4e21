"""A real Prometheus scrapes a real run on a Ray head with a token, and knows what it did.

The run meets what there are metrics for: an S3 server that is busy at times, a damaged photo, and
a step whose loss is not a number.
"""

import gzip
import io
import json
import os
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.parse
import urllib.request

import one_program
import prometheus
import pytest
import ray_head

from retdm.storage import open_store
from retdm.train.metrics import GPU_MEMORY, METRICS
from retdm.train.profiled_steps import ProfiledSteps
from retdm.train.trace import file_of
from tests.conftest import ROOT
from tests.monitoring.files import queries, rules
from tests.storage.fault_proxy import FaultProxy
from tests.train.conftest import SMALL, shards

__all__ = ["shards"]
pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
STILL = {"ray_retdm_neighbours", "ray_retdm_worker"}
"""What may be the same in all steps."""
PROFILED = ProfiledSteps(2, 3)
PROGRAM = """
import runpy
import sys

from retdm.onray import launch
from tests.train.poison import poison

whole = launch._worker

def worker(settings):
    with poison({20}):
        whole(settings)

launch._worker = worker
sys.argv.pop(0)
runpy.run_path(sys.argv[0], run_name="__main__")
"""
"""jobs/train.py with a step that is not finite."""
OVER = "15m"


class Prometheus:
    """Answers queries about the run."""

    def __init__(self, url):
        self.url = url

    def ask(self, query):
        """The series that are its result, each with its values."""
        now = time.time()
        words = {"query": query, "start": now - 900, "end": now, "step": 1}
        url = f"{self.url}/api/v1/query_range?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=60) as answer:
            content = json.load(answer)
        assert content["status"] == "success", (query, content)
        return [
            (one["metric"], [float(value) for _, value in one["values"]])
            for one in content["data"]["result"]
        ]

    def now(self, query):
        """The series that are its result at this moment."""
        return self.get(f"query?{urllib.parse.urlencode({'query': query})}")["result"]

    def get(self, path):
        """What its API says at `path`."""
        with urllib.request.urlopen(f"{self.url}/api/v1/{path}", timeout=60) as answer:
            return json.load(answer)["data"]


def _damaged(content):
    """A tar, some bytes of whose first photo are wrong."""
    with tarfile.open(fileobj=io.BytesIO(content)) as tar:
        at = next(one for one in tar if one.name.endswith(".jpg")).offset_data + 50
    return content[:at] + bytes(20) + content[at + 20 :]


@pytest.fixture(scope="module")
def busy(s3):
    """Environment of clients of the S3 server that it sends away now and then."""
    with FaultProxy(s3.endpoint) as proxy:
        proxy.inject("503", 0.05)
        yield {"AWS_ENDPOINT_URL": proxy.url}


@pytest.fixture(scope="module")
def watched(shards, s3, busy, tmp_path_factory):
    """Prometheus behind a run of two workers with data and storage on S3, and the run's folder."""
    if shutil.which("prometheus") is None:
        pytest.skip("needs prometheus; on Debian: apt install prometheus")
    folder = tmp_path_factory.mktemp("watched")
    url, runs = s3.url("shards"), s3.url("runs")
    source, target = open_store(shards), open_store(url)
    for name in source.names():
        content = source.read(name)
        target.write(name, _damaged(content) if name == "train/000000.tar" else content)
    env = {
        **os.environ,
        **busy,
        "PYTHONPATH": str(ROOT),
        "RAY_metrics_report_interval_ms": "1000",  # not 10 s: the run is short
        "RAY_memory_monitor_refresh_ms": "0",  # whatever else fills this machine's memory
    }
    client = ray_head.start(folder / "ray", num_cpus=3, env=env, tied=True)
    try:
        address = prometheus.start(
            folder / "prometheus", ray=folder / "ray", tied=True, scrape_s=1
        )
        pairs = [f"data.url={url}", f"data.cache_dir={folder / 'cache'}", *SMALL]
        pairs += ["data.loader_workers=1", "data.max_bad_samples=1"]
        pairs += ["run.log_every_steps=1", "stages.*.epochs=8"]
        overrides = [word for pair in pairs for word in ("--set", pair)]
        where = ["--storage", runs, "--run-name", "seen", "--workers", "2"]
        where += ["--profile", f"steps={PROFILED.first}:{PROFILED.last}"]
        (folder / "program.py").write_text(PROGRAM)
        words = [folder / "program.py", "jobs/train.py", "jobs/recipes/demo.toml"]
        words += [*overrides, *where]
        with (folder / "log").open("w") as log:
            done = subprocess.run(
                [sys.executable, *words],
                cwd=ROOT, env=env | client, stdout=log, stderr=subprocess.STDOUT, timeout=1200,
            )  # fmt: skip
        assert done.returncode == 0, (folder / "log").read_text()[-4000:]
        yield Prometheus(address), open_store(f"{runs}/seen")
    finally:
        one_program.stop(folder / "prometheus")
        ray_head.stop(folder / "ray")


def test_every_metric_but_the_gpus_is_there_and_moves(watched):
    server, _ = watched
    for metric in METRICS:
        name, series = metric.on_prometheus, server.ask(metric.on_prometheus)
        if metric is GPU_MEMORY:
            assert not series  # these workers have none
            continue
        assert series, name
        if name not in STILL:
            assert any(len(set(values)) > 1 for _, values in series), name
        for labels, _ in series:
            assert labels["run"].endswith("/seen"), labels
            assert labels["rank"] in {"0", "1"}
            assert bool(labels.get("part")) == bool(metric.parts), labels


def test_every_query_of_the_dashboard_has_data(watched):
    server, _ = watched
    for title, query in queries():
        asked = query.replace("$__rate_interval", "20s").replace("$run", ".*")
        assert "$" not in asked
        series = server.ask(asked)
        assert bool(series) == (title != "GPU memory"), (title, asked)


def test_the_alerts_are_loaded_and_evaluated(watched):
    server, _ = watched
    (group,) = server.get("rules")["groups"]
    assert {rule["name"]: rule["health"] for rule in group["rules"]} == dict.fromkeys(
        rules(), "ok"
    )
    firing = {one["labels"]["alertname"] for one in server.get("alerts")["alerts"]}
    assert "RetdmRunStalled" not in firing


def test_a_run_that_has_ended_well_does_not_seem_to_stand_still(watched):
    server, _ = watched
    deadline = time.monotonic() + 120
    while server.now("ray_retdm_step or ray_retdm_worker"):
        assert time.monotonic() < deadline
        time.sleep(1)
    stalled = rules()["RetdmRunStalled"].replace("[3m]", "[5s]")
    assert stalled.count("[5s]") == 2
    without_growth = stalled.splitlines()[0]
    while not server.now(without_growth):  # the totals of workers that have ended are still there
        assert time.monotonic() < deadline
        time.sleep(1)
    assert server.now(stalled) == []


def _last(server, query):
    """The largest value of the only series."""
    ((_, values),) = server.ask(query)
    return max(values)


def test_its_numbers_are_those_of_the_run(watched):
    server, store = watched
    result = json.loads(store.read("result.json"))
    assert _last(server, "max(ray_retdm_skipped_steps_total)") == len(result["skipped_steps"]) == 1
    assert _last(server, "max(ray_retdm_bad_samples_total)") == len(result["bad_samples"]) == 1
    assert result["time"]["seconds"]["exchange"] > 0
    assert _last(server, "max(ray_retdm_step)") <= result["history"][-1]["step"]
    assert _last(server, "max(ray_retdm_step)") > 0
    assert 0 < _last(server, "max(ray_retdm_bank_fill)") <= 1
    assert 0 < _last(server, "max(ray_retdm_violations)") <= 1
    losses = {labels["part"] for labels, _ in server.ask("max by (part) (ray_retdm_loss)")}
    assert losses == {"bce", "metric", "way1", "way2", "reconstruction", "total"}
    # Every moment of a worker counts for one part.
    for labels, values in server.ask(f"sum by (rank) (deriv(ray_retdm_seconds_total[{OVER}]))"):
        assert 0.7 < values[-1] < 1.3, labels


def test_each_worker_has_left_a_trace_of_its_profiled_steps(watched):
    _, store = watched
    for rank in range(2):
        content = json.loads(gzip.decompress(store.read(file_of(PROFILED, rank))))
        names = [one["name"] for one in content["traceEvents"] if one.get("ph") == "X"]
        assert names.count("backward") == PROFILED.last - PROFILED.first + 1
