"""What pods do when they end, and how they are asked for their health, with a Ray of our own.

A pod has processes of its own, so a node is made in a PID namespace, which takes root.
"""

import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from pathlib import Path

import background
import pytest
import ray_head

from tests.cluster.manifests import KUBERAY

pytestmark = [pytest.mark.slow, pytest.mark.cluster, pytest.mark.timeout(900)]
STOP_JOBS = [sys.executable, str(KUBERAY / "base/stop_jobs.py")]
GRACE = "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S"
ALONE = ["unshare", "--pid", "--fork", "--mount-proc", "--kill-child"]
LIMIT_S = 240
TRAINING = """
import sys, time, ray
from ray._private.state import state
ray.init(log_to_driver=False)
while not ray.cluster_resources().get("pod"):
    time.sleep(0.2)

@ray.remote(num_cpus=0, resources={"pod": 1})
class Training:
    def node(self):
        return ray.get_runtime_context().get_node_id()

training = Training.remote()
print(ray.get(training.node.remote()), flush=True)
while not state.get_draining_nodes():
    time.sleep(0.2)
for node, deadline_ms in state.get_draining_nodes().items():
    print(node, deadline_ms / 1000, flush=True)
sys.stdin.readline()
ray.kill(training)
"""
JOB = """
import signal, sys, time
def end(number, frame):
    print("checkpoint written", flush=True)
    sys.exit(0)
signal.signal(signal.SIGTERM, end)
print("training", flush=True)
time.sleep(600)
"""
CLIENT = """
import sys, time
from ray.job_submission import JobSubmissionClient
client = JobSubmissionClient()
job = client.submit_job(entrypoint=sys.argv[1])
while "training" not in client.get_job_logs(job):
    time.sleep(0.2)
print(job, flush=True)
sys.stdin.readline()
print(client.get_job_status(job).value, client.get_job_logs(job).split(), flush=True)
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """The environment of clients of a head that asks for its token."""
    folder = tmp_path_factory.mktemp("head")
    yield os.environ | ray_head.start(folder, num_cpus=1, tied=True)
    ray_head.stop(folder)


@pytest.fixture
def pod(tmp_path):
    """A node in a PID namespace, started by the shell that KubeRay uses; it is its own head.

    Yields its clients' environment, its agent's port, its first process, and ours that waits.
    """
    if os.geteuid() != 0:
        pytest.skip("a PID namespace of its own takes root")
    ports = {name: background.free_port() for name in ("gcs", "dashboard", "agent", "client")}
    ports["client"] = ray_head._client_port()
    session = Path(tempfile.mkdtemp(prefix="retdm-ray-", dir="/tmp"))
    words = [*ray_head._command(ports, 1, session), '--resources={"pod": 1}']
    token = {"RAY_AUTH_MODE": "token", "RAY_AUTH_TOKEN": secrets.token_hex(32)}  # as in a pod
    address = {"RAY_ADDRESS": f"127.0.0.1:{ports['gcs']}", **ray_head._LOOPBACK}
    env = os.environ | token | address
    with (tmp_path / "pod.log").open("w") as log:
        outer = subprocess.Popen(
            [*ALONE, "/bin/bash", "-lc", "--", f"ulimit -n 4096; {shlex.join(words)}"],
            env={**env, GRACE: "200"},
            stdout=log,
            stderr=subprocess.STDOUT,
        )
    try:
        until = time.monotonic() + LIMIT_S
        while status(ports["agent"], "/api/local_raylet_healthz") != 200:
            assert outer.poll() is None, log_of(tmp_path)
            assert time.monotonic() < until, log_of(tmp_path)
            time.sleep(0.5)
        (first,) = Path(f"/proc/{outer.pid}/task/{outer.pid}/children").read_text().split()
        yield env, int(first), outer
    finally:
        outer.kill()
        outer.wait()
        shutil.rmtree(session, ignore_errors=True)


def log_of(folder):
    return (folder / "pod.log").read_text()[-3000:]


def begin(program, *arguments, env):
    """A program that is told to go on by a line, and ends by itself."""
    return subprocess.Popen(
        [sys.executable, "-c", program, *arguments],
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_node_that_is_told_to_end_is_left_by_training_before_it_does(pod, tmp_path):
    env, first, outer = pod
    training = begin(TRAINING, env=env)
    node = training.stdout.readline().strip()
    os.kill(first, signal.SIGTERM)  # as the kubelet does, to the pod's first process
    drained, deadline = training.stdout.readline().split()
    assert drained == node
    assert 100 < float(deadline) - time.time() < 200
    assert outer.poll() is None, "it ended while training had not left"
    training.communicate("go on\n", timeout=LIMIT_S)
    outer.wait(timeout=LIMIT_S)
    assert time.time() < float(deadline), "it waited although there was nothing to wait for"
    assert "Local node finished draining" in log_of(tmp_path)


def test_a_head_that_ends_stops_its_jobs_and_waits_for_them(head, tmp_path):
    (tmp_path / "job.py").write_text(JOB)
    client = begin(CLIENT, f"{sys.executable} {tmp_path / 'job.py'}", env=head)
    job = client.stdout.readline().strip()
    port = head["RAY_API_SERVER_ADDRESS"].rpartition(":")[2]
    stop = [*STOP_JOBS, "200", "--port", port]
    done = subprocess.run(stop, env=head, timeout=LIMIT_S, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert f"job {job}: told to stop" in done.stderr
    told, _ = client.communicate("go on\n", timeout=LIMIT_S)
    assert told.startswith("STOPPED ")
    assert told.endswith(" 'training', 'checkpoint', 'written']\n")


def test_health_is_told_without_the_token_and_nothing_else(head):
    port = int(head["RAY_API_SERVER_ADDRESS"].rpartition(":")[2])
    assert status(port, "/api/gcs_healthz") == 200
    assert status(port, "/api/jobs/") == 401


def status(port, path):
    """Of the answer to what the kubelet asks."""
    request = urllib.request.Request(f"http://127.0.0.1:{port}{path}")
    request.add_header("User-Agent", "kube-probe/1.33")
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status
    except urllib.error.HTTPError as error:
        with error:
            return error.code
    except OSError:  # nobody listens
        return None
