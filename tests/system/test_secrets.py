"""Every byte that a cluster writes or answers during a run is searched for keys and tokens."""

import base64
import json
import os
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from pathlib import Path

import background
import job
import pytest
import ray_head

from retdm.storage import open_store
from tests.conftest import ROOT

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(1800)]
OTHER = "hf_a-token-of-some-other-service-0123456789"
WRONG = "wrong-secret-0123456789abcdefghijklmnopqrs"
SETTINGS = (
    "method=bce",
    "model.backbone=timm:test_resnet",
    "model.weights=none",
    "model.embedding=16",
    "data.batch_size=8",
    "data.image_size=32",
    "data.loader_workers=1",
    "stages.*.epochs=0",
    "stages.1.epochs=1",
)
ANSWERS = (
    *("/api/version", "/api/jobs/", "/api/cluster_status", "/nodes?view=summary", "/events"),
    *("/logical/actors", "/api/component_activities", "/api/train/v2/runs/v1", "/metrics"),
    *("/api/packages/gcs", "/api/serve/applications/", "/api/authentication_mode"),
    *(
        f"/api/v0/{kind}?detail=1"
        for kind in ("actors", "jobs", "nodes", "workers", "tasks", "objects", "runtime_envs")
    ),
)
FAILING = f"""
import os, sys
from retdm.config import load_config
from retdm.onray import launch
from retdm.onray.workers import Workers
from retdm.storage import open_store

def fail(settings):
    launch.speak()
    # In two parts, since this text itself is told as the job's entrypoint.
    os.environ["AWS_SECRET_ACCESS_KEY"] = {WRONG[:20]!r} + {WRONG[20:]!r}
    try:
        open_store(settings["run"]).read("run.json")
    except Exception as error:
        raise RuntimeError("a bug") from error

launch._worker = fail
config = load_config("jobs/recipes/demo.toml", sys.argv[3:])
launch.run_on_ray(
    config, storage=sys.argv[1], name=sys.argv[2], workers=Workers(1, 1), resume="auto"
)
"""


class Heard:
    """All that was seen of a cluster, by where it was seen."""

    def __init__(self):
        self.content = {}

    def add(self, where, content):
        self.content.setdefault(where, set()).add(content)

    def add_files(self, folder, *, but=()):
        for path in folder.rglob("*"):
            if path.is_file() and path not in but:
                self.add(str(path), path.read_bytes())

    def holding(self, secret):
        """Places where the secret stands, as it is or in base64."""
        forms = (secret.encode(), base64.b64encode(secret.encode()))
        return sorted(
            where
            for where, contents in self.content.items()
            if any(form in content for form in forms for content in contents)
        )


def _ask(heard, client, token, leaders):
    """What the dashboard tells those who hold the token, and what every user's `ps` shows."""
    paths = [*ANSWERS]
    for path in paths:
        request = urllib.request.Request(
            client["RAY_API_SERVER_ADDRESS"] + path, headers={"Authorization": f"Bearer {token}"}
        )
        try:
            with urllib.request.urlopen(request, timeout=30) as answer:
                content = answer.read()
        except urllib.error.HTTPError as error:
            content = error.read()
        except OSError:
            continue
        heard.add(path, content)
        if path == "/nodes?view=summary" and b"raylet" in content:
            nodes = json.loads(content)["data"]["summary"]
            paths += [f"/nodes/{node['raylet']['nodeId']}" for node in nodes]
        if path == "/api/jobs/":
            paths += [f"/api/jobs/{one['submission_id']}/logs" for one in json.loads(content)]
    for process in background.family(leaders):
        try:
            heard.add(f"ps {process.pid}", Path(f"/proc/{process.pid}/cmdline").read_bytes())
        except OSError:
            continue


def _submit(heard, entrypoint, client, token, leaders, log):
    """Run a job, and ask the dashboard about it all the while; its exit status."""
    ended = []

    def submit():
        env = os.environ | client
        ended.append(job.submit(entrypoint, working_dir=ROOT, env=env, log=log, limit_s=900))

    thread = threading.Thread(target=submit)
    thread.start()
    while thread.is_alive():
        _ask(heard, client, token, leaders)
        time.sleep(1)
    thread.join()
    return ended[0]


def _program(heard, name, *arguments, **env):
    done = subprocess.run(
        [sys.executable, *arguments],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": str(ROOT), **env},
        capture_output=True,
        timeout=600,
    )
    heard.add(name, done.stdout + done.stderr)
    return done


@pytest.fixture(scope="module")
def cluster(s3, tmp_path_factory):
    """All that is heard of a cluster on which one run succeeds and one fails, and its secrets."""
    folder, heard = tmp_path_factory.mktemp("secrets"), Heard()
    shards, runs = s3.url("shards"), s3.url("runs")
    sizes = ("options.images=24", "options.size=32", "shards.samples=8")
    build = ["-m", "retdm.shard", "build", "shards/synthetic.toml", "--source", str(folder)]
    build += [word for size in sizes for word in ("--set", size)]
    assert _program(heard, "build", *build, "--out", shards).returncode == 0
    env = {**os.environ, "SOME_SERVICE_TOKEN": OTHER, "PYTHONPATH": str(ROOT)}
    env["RAY_memory_monitor_refresh_ms"] = "0"  # or other programs' use of memory ends the run
    client = ray_head.start(folder / "ray", num_cpus=2, env=env, tied=True)
    try:
        token = Path(client["RAY_AUTH_TOKEN_PATH"]).read_text()
        leaders = list(background.load_processes(folder / "ray/processes.json").values())
        pairs = [f"data.url={shards}", *SETTINGS]
        sets = [word for pair in pairs for word in ("--set", pair)]
        run = ["--storage", runs, "--run-name", "good"]
        train = ["python", "jobs/train.py", "jobs/recipes/demo.toml", *sets, *run]
        at = (client, token, leaders)
        assert _submit(heard, train, *at, folder / "good.log") == 0
        bad = ["python", "-c", FAILING, runs, "bad", *pairs, "run.max_failures=0"]
        assert _submit(heard, bad, *at, folder / "bad.log") == 1
        _ask(heard, *at)
        session = Path((folder / "ray/session").read_text())
        heard.add_files(session)
    finally:
        ray_head.stop(folder / "ray")
    heard.add_files(folder, but=[folder / "ray/token"])
    bucket = open_store(f"s3://{s3.bucket}")
    for name in bucket.names():
        if name.startswith(tuple(url.partition(f"{s3.bucket}/")[2] for url in (shards, runs))):
            heard.add(f"s3://{name}", name.encode() + bucket.read(name))
    secrets = {
        "S3": s3.environment["AWS_SECRET_ACCESS_KEY"],
        "Ray": token,
        "another variable": OTHER,
    }
    return heard, secrets


def test_what_was_searched_is_what_a_cluster_writes(cluster):
    heard, _ = cluster
    seen = "\n".join(heard.content)
    for part in (
        *("manifest.json", "run.json", "result.json", "log.jsonl", "tensorboard/events", ".pt"),
        *("checkpoints.json", "job-driver", "raylet.out", "gcs_server", "python-core-worker"),
        *("worker-", "dashboard.log", "runtime_env", "good.log", "bad.log", "ps ", "/logs"),
        *("/api/jobs/", "/nodes/", "/api/v0/workers"),
    ):
        assert part in seen, part
    for where, text in (
        ("bad.log", b"RuntimeError: a bug"),
        ("bad.log", b"SignatureDoesNotMatch"),
    ):
        assert any(
            text in content
            for place, contents in heard.content.items()
            for content in contents
            if place.endswith(where)
        ), text


def test_the_tensorboard_command_opens_no_port_to_others(cluster):
    said = [
        text
        for where, texts in cluster[0].content.items()
        for text in texts
        if where.endswith("good.log")
    ]
    commands = [line for line in b"\n".join(said).splitlines() if b"tensorboard --logdir" in line]
    assert commands
    assert not any(b"--host" in line or b"--bind_all" in line for line in commands)


def test_the_search_finds_what_is_no_secret(cluster):
    found = cluster[0].holding("data.image_size=32")
    for place in ("/api/jobs/", "ps ", "good.log"):
        assert any(place in where for where in found), place


@pytest.mark.parametrize("which", ["S3", "Ray", "another variable"])
def test_no_key_or_token_is_written_or_told_anywhere(cluster, which):
    heard, secrets = cluster
    assert heard.holding(secrets[which]) == []


def test_a_wrong_secret_is_not_told_either(cluster):
    assert cluster[0].holding(WRONG) == []


@pytest.mark.parametrize(
    "arguments",
    [
        ["jobs/train.py", "jobs/recipes/demo.toml", "--set", "data.url=URL", "--dry-run"],
        ["jobs/train.py", "jobs/recipes/demo.toml", "--storage", "URL"],
        ["jobs/compare.py", "jobs/recipes/demo.toml", "--methods", "bce", "--set", "data.url=URL"],
        ["-m", "retdm.shard", "build", "shards/synthetic.toml", "--source", ".", "--out", "URL"],
        ["-m", "retdm.shard", "verify", "URL"],
        ["-m", "retdm.evaluate", "URL"],
    ],
    ids=lambda words: " ".join(words[:3]),
)
def test_a_url_with_a_key_in_it_is_refused_and_not_shown(arguments):
    heard = Heard()
    url = f"s3://AKIAKEY:{WRONG}@bucket/x"
    done = _program(heard, "said", *(word.replace("URL", url) for word in arguments))
    assert done.returncode == 2
    assert b"error: an s3:// URL has an '@' or ':' where its bucket's name is" in done.stderr
    assert heard.holding(WRONG) == []
