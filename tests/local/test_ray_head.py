"""The local Ray head: runs jobs, guards its door and the keys in its environment, ends."""

import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import background
import job
import pytest
import ray_head
from background import LocalServiceError

pytestmark = pytest.mark.cluster

PROGRAM = """
import hashlib, os, sys
key = os.environ["AWS_SECRET_ACCESS_KEY"]
print("python", sys.executable)
print("key", hashlib.sha256(key.encode()).hexdigest())
print("hidden", os.path.exists("tests"))
print("dashboard", os.environ.get("RAY_API_SERVER_ADDRESS"))
sys.exit(int(sys.argv[1]))
"""


@pytest.fixture(scope="module")
def head(tmp_path_factory):
    """A head whose environment holds a key, as a cluster's does."""
    folder = tmp_path_factory.mktemp("ray")
    key = os.urandom(20).hex()
    env = os.environ | {"AWS_SECRET_ACCESS_KEY": key}
    client = ray_head.start(folder, num_cpus=2, env=env, tied=True)
    yield folder, client, key
    ray_head.stop(folder)


@pytest.fixture
def project(tmp_path):
    folder = tmp_path / "project"
    (folder / "tests").mkdir(parents=True)
    (folder / "tests/big").write_text("not sent")
    (folder / ".rayignore").write_text("tests\n")
    (folder / "program.py").write_text(PROGRAM)
    return folder


def _submit(head, project, code):
    return job.submit(
        ["python", "program.py", str(code)],
        working_dir=project,
        env=os.environ | head[1],
        log=project.parent / "job.log",
        limit_s=120,
    )


def test_a_job_succeeds_and_sees_the_key_which_nobody_prints(head, project, capfd, tmp_path):
    folder, client, key = head
    assert _submit(head, project, 0) == 0
    shown = capfd.readouterr().out
    assert f"python {Path(sys.executable).parent}/python\n" in shown
    assert "hidden False" in shown
    # Ray Train's helpers need it on a machine of several Rays.
    assert f"dashboard {client['RAY_API_SERVER_ADDRESS']}\n" in shown
    assert shown in (tmp_path / "job.log").read_text()
    session = Path((folder / "session").read_text())
    written = [p for top in (folder, session) for p in top.rglob("*") if p.is_file()]
    assert any("job-driver" in p.name for p in written)
    assert not [p for p in written if key.encode() in p.read_bytes()]
    command_lines = subprocess.run(["ps", "-eo", "args"], capture_output=True, text=True).stdout
    assert key not in command_lines


def test_a_job_that_fails_gives_a_status_and_its_output(head, project, tmp_path):
    assert _submit(head, project, 7) == 1
    assert "exit code 7" in (tmp_path / "job.log").read_text()


def test_without_the_token_nobody_gets_in(head, project, tmp_path):
    folder, client, key = head
    assert (folder / "token").stat().st_mode & 0o777 == 0o600
    stranger = {**client, "RAY_AUTH_MODE": "disabled"}
    del stranger["RAY_AUTH_TOKEN_PATH"]
    assert _submit((folder, stranger, key), project, 0) == 1
    assert "uthent" in (tmp_path / "job.log").read_text()


def test_all_its_servers_listen_on_loopback_alone(head, project, addresses, tmp_path):
    leaders = background.load_processes(head[0] / "processes.json").values()
    (project / "program.py").write_text(
        "import os, ray, time; ray.init(); "
        "print(ray.get(ray.remote(lambda: 'worker').remote())); "
        "print('on', ray.nodes()[0]['NodeManagerAddress'])\n"
        f"while not os.path.exists({str(tmp_path / 'seen')!r}): time.sleep(0.1)"
    )
    client = threading.Thread(target=_submit, args=(head, project, 0))
    client.start()
    try:
        log = project.parent / "job.log"
        for _ in range(1000):
            if log.exists() and "on 127.0.0.1" in log.read_text():
                break
            assert client.is_alive(), log.read_text()
            time.sleep(0.1)
        assert "worker" in log.read_text()
        assert addresses(leaders) == {"127.0.0.1"}
    finally:
        (tmp_path / "seen").touch()
        client.join()


def test_what_it_writes_is_for_its_owner_alone(head, project):
    assert _submit(head, project, 0) == 0
    folder = head[0]
    assert Path((folder / "session").read_text()).stat().st_mode & 0o777 == 0o700
    for name in ("token", "connection.json", "processes.json", "session", "ray.log"):
        assert (folder / name).stat().st_mode & 0o777 == 0o600, name


def test_a_job_that_takes_too_long_ends_the_client(head, project, tmp_path):
    (project / "program.py").write_text("import time; time.sleep(600)")
    status = job.submit(
        ["python", "program.py"],
        working_dir=project,
        env=os.environ | head[1],
        log=tmp_path / "job.log",
        limit_s=0.1,
    )
    assert status != 0


def test_a_second_head_takes_other_ports_and_stop_leaves_no_process(
    head, tmp_path, program, marked
):
    mark, alive = marked
    folder = tmp_path / "ray"
    options = ["--num-cpus", 1, "--auth", "disabled"]
    started = program("ray_head.py", "start", "--dir", folder, *options, env=mark)
    assert started.returncode == 0, started.stderr
    assert head[1]["RAY_ADDRESS"] not in started.stdout
    assert head[1]["RAY_API_SERVER_ADDRESS"] not in started.stdout
    assert "token" not in started.stdout
    session = Path((folder / "session").read_text())
    assert len(alive()) > 5
    stopped = program("ray_head.py", "stop", "--dir", folder)
    assert stopped.returncode == 0, stopped.stderr
    assert alive() == []
    assert not session.exists()
    assert (folder / "logs/gcs_server.out").exists()
    assert (folder / "logs").stat().st_mode & 0o777 == 0o700
    assert program("ray_head.py", "stop", "--dir", folder).returncode == 0
    missing = program("ray_head.py", "env", "--dir", folder)
    assert missing.returncode == 2
    assert "no Ray head runs here; run `ray_head.py start --dir" in missing.stderr


def test_a_head_that_does_not_start_is_an_error_with_its_log(tmp_path, monkeypatch):
    monkeypatch.setattr(ray_head, "RAY", [sys.executable, "-c", "print('no ray here')"])
    with pytest.raises(
        LocalServiceError,
        match=r"(?s)the Ray head did not start: it ended.*ray\.log:.*no ray here",
    ):
        ray_head.start(tmp_path / "ray", num_cpus=1)
    assert not (tmp_path / "ray/processes.json").exists()


def test_a_stranger_on_the_dashboards_port_is_never_shown_the_token(
    tmp_path, impostor, monkeypatch
):
    impostor.take(monkeypatch, 8265, times=2)
    monkeypatch.setattr(ray_head, "_ATTEMPTS", 2)
    with pytest.raises(
        ray_head.PortTakenError, match=rf"another program took port {impostor.port}"
    ):
        ray_head.start(tmp_path / "ray", num_cpus=1, tied=True)
    assert impostor.requests == []
    assert not (tmp_path / "ray/processes.json").exists()
    assert not (tmp_path / "ray/session").exists()


@pytest.mark.slow
def test_a_head_whose_agent_lost_its_port_is_started_again(tmp_path, impostor, monkeypatch):
    impostor.take(monkeypatch, ray_head._AGENT_PORT, times=1)
    client = ray_head.start(tmp_path / "ray", num_cpus=1, tied=True)
    try:
        assert (tmp_path / "ray/agent_port").read_text() != str(impostor.port)
        done = subprocess.run(
            [*ray_head.RAY, "job", "submit", "--", "true"], env=os.environ | client, timeout=120
        )
        assert done.returncode == 0
    finally:
        ray_head.stop(tmp_path / "ray")
