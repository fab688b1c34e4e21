"""One command starts what a cluster has around it, another ends exactly that."""

import json
import shutil
import sys
import urllib.request
from pathlib import Path

import background
import grafana
import one_program
import prometheus
import pytest
import ray_head
import services
import yaml
from background import LocalServiceError


@pytest.fixture
def bare(monkeypatch):
    """A PATH on which there is nothing."""
    monkeypatch.setenv("PATH", "/nowhere")


def test_without_the_program_prometheus_does_not_start(bare, tmp_path):
    with pytest.raises(LocalServiceError, match="on Debian: sudo apt install prometheus"):
        prometheus.start(tmp_path / "p", ray=tmp_path / "ray")
    assert not (tmp_path / "p").exists()


def _program(folder, text, name="prometheus"):
    path = folder / name
    path.write_text(f"#!{sys.executable}\n{text}\n")
    path.chmod(0o755)


def test_prometheus_wants_a_head(tmp_path, monkeypatch):
    _program(tmp_path, "")
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(LocalServiceError, match=r"no Ray head runs here; run `ray_head\.py start"):
        prometheus.start(tmp_path / "p", ray=tmp_path / "ray")


def test_a_prometheus_that_ends_at_once_is_told_with_its_log(tmp_path, monkeypatch):
    _program(tmp_path, "print('bad flag'); raise SystemExit(2)")
    monkeypatch.setenv("PATH", str(tmp_path))
    (tmp_path / "session").write_text("/tmp/a-session")
    with pytest.raises(LocalServiceError, match=r"did not start: it ended; .*\n.*bad flag"):
        prometheus.start(tmp_path / "p", ray=tmp_path)
    config = (tmp_path / "p/prometheus.yml").read_text()
    assert "/tmp/a-session/r/prom_metrics_service_discovery.json" in config
    assert not (tmp_path / "p/processes.json").exists()


SERVER = """
import http.server, json, os, sys
from pathlib import Path
told = {"words": sys.argv[1:], "settings": {k: v for k, v in os.environ.items() if k[:3] == "GF_"}}
Path(os.environ["GF_PATHS_DATA"] + ".json").write_text(json.dumps(told))
address = os.environ["GF_SERVER_HTTP_ADDR"], int(os.environ["GF_SERVER_HTTP_PORT"])
http.server.HTTPServer(address, http.server.SimpleHTTPRequestHandler).serve_forever()
"""


def test_grafana_is_given_its_data_and_dashboard_and_serves_loopback_alone(
    tmp_path, monkeypatch, addresses
):
    (tmp_path / "home/bin").mkdir(parents=True)
    (tmp_path / "home/conf").mkdir()
    (tmp_path / "home/conf/defaults.ini").touch()
    _program(tmp_path / "home/bin", SERVER, "grafana")
    monkeypatch.setenv("PATH", str(tmp_path / "home/bin"))
    root = tmp_path / "g"
    try:
        url = grafana.start(root, prometheus="http://127.0.0.1:9")
        leaders = background.load_processes(root / "processes.json").values()
        assert addresses(leaders) == {"127.0.0.1"}
        told = json.loads((root / "data.json").read_text())
    finally:
        one_program.stop(root)
    assert told["words"] == ["server", "--homepath", str(tmp_path / "home")]
    port = told["settings"]["GF_SERVER_HTTP_PORT"]
    shown = json.loads((root / "shown/retdm.json").read_text())
    assert url == f"http://127.0.0.1:{port}/d/{shown['uid']}"
    assert len(told["settings"]["GF_SECURITY_ADMIN_PASSWORD"]) > 30
    given = Path(told["settings"]["GF_PATHS_PROVISIONING"])
    (source,) = yaml.safe_load((given / "datasources/datasource.yml").read_text())["datasources"]
    assert (source["url"], source["uid"]) == ("http://127.0.0.1:9", "retdm-prometheus")
    (provider,) = yaml.safe_load((given / "dashboards/dashboards.yml").read_text())["providers"]
    assert provider["options"]["path"] == str(root / "shown")
    assert not any(map(background.is_alive, leaders))


def test_grafana_without_its_files_is_none(tmp_path, monkeypatch):
    (tmp_path / "bin").mkdir()
    _program(tmp_path / "bin", "", "grafana")
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    with pytest.raises(LocalServiceError, match="no program `grafana` in PATH with its files"):
        grafana.start(tmp_path / "g", prometheus="http://127.0.0.1:9")
    assert not (tmp_path / "g").exists()


@pytest.mark.parametrize("before", [False, True])
def test_if_one_does_not_start_none_that_was_started_stays(before, tmp_path, monkeypatch):
    stopped = []
    monkeypatch.setattr(services.s3_server, "is_running", lambda root: before)
    monkeypatch.setattr(services.s3_server, "start", lambda *_, **__: {"AWS_ENDPOINT_URL": "x"})

    def fail(*_, **__):
        raise LocalServiceError("no")

    monkeypatch.setattr(services.ray_head, "start", fail)
    for module in (services.s3_server, services.ray_head, services.one_program):
        monkeypatch.setattr(module, "stop", lambda root: stopped.append(root.name))
    with pytest.raises(LocalServiceError, match="no"):
        services.start(tmp_path, bucket="b", num_cpus=1)
    others = ["grafana", "prometheus", "ray"]
    assert sorted(stopped) == (others if before else [*others, "s3"])


def test_a_head_that_runs_there_keeps_its_jobs(tmp_path):
    me = background.spawn([shutil.which("sleep"), "60"], log=tmp_path / "log", env={}, tied=True)
    (tmp_path / "ray").mkdir()
    background.save_processes(tmp_path / "ray/processes.json", {"head": me})
    try:
        with pytest.raises(LocalServiceError, match=r"a Ray head runs here already, perhaps with"):
            services.start(tmp_path, bucket="b", num_cpus=1)
        assert background.is_alive(me)
    finally:
        background.end([me], grace_s=1)


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(600)
def test_one_command_starts_them_and_another_ends_them(program, marked, tmp_path):
    mark, alive = marked
    folder = tmp_path / "local"
    started = program(
        "services.py", "start", "--dir", folder, "--bucket", "photos", "--num-cpus", 1, env=mark
    )
    try:
        assert started.returncode == 0, started.stderr
        lines = dict(
            line.split(" at ", 1) for line in started.stdout.splitlines() if " at " in line
        )
        assert {"S3 server", "Ray head", "Ray's dashboard"} <= lines.keys()
        if shutil.which("prometheus"):
            with urllib.request.urlopen(f"{lines['Prometheus']}/-/ready", timeout=60) as answer:
                assert answer.status == 200
        else:
            assert "no Prometheus" in started.stdout
        env = program("services.py", "env", "--dir", folder).stdout
        for name in ("AWS_ENDPOINT_URL", "AWS_SECRET_ACCESS_KEY", "RAY_ADDRESS"):
            assert f"export {name}=" in env
        token = Path(ray_head.environment(folder / "ray")["RAY_AUTH_TOKEN_PATH"])
        assert token.stat().st_mode & 0o777 == 0o600
        assert alive()
    finally:
        stopped = program("services.py", "stop", "--dir", folder)
    assert stopped.returncode == 0, stopped.stderr
    assert alive() == []
    assert program("services.py", "stop", "--dir", folder).returncode == 0
