"""The S3 server: starts, keeps its objects, guards its key, ends."""

import os
import socket
import stat
import subprocess
import sys
from pathlib import Path

import background
import boto3
import pytest
import s3_server
from background import LocalServiceError
from botocore.exceptions import ClientError

LOCAL = Path(__file__).resolve().parents[2] / "cluster/local"
pytestmark = pytest.mark.cluster


def _client(settings, **other):
    return boto3.client(
        "s3",
        endpoint_url=settings["AWS_ENDPOINT_URL"],
        aws_access_key_id=settings["AWS_ACCESS_KEY_ID"],
        aws_secret_access_key=other.get("secret", settings["AWS_SECRET_ACCESS_KEY"]),
        region_name=settings["AWS_DEFAULT_REGION"],
    )


def test_start_env_stop_as_a_shell_does(tmp_path, program, marked):
    mark, alive = marked
    folder = tmp_path / "s3"
    with socket.create_server(("127.0.0.1", 0)) as server:
        taken = server.getsockname()[1]
        started = program(
            "s3_server.py", "start", "--dir", folder, "--bucket", "photos", "--port", taken,
            env=mark,
        )  # fmt: skip
    assert started.returncode == 0, started.stderr
    assert f":{taken}" not in started.stdout
    assert len(alive()) == 4
    try:
        printed = program("s3_server.py", "env", "--dir", folder).stdout
        pairs = [line.removeprefix("export ").split("=", 1) for line in printed.splitlines()]
        settings = {name: value.strip("'") for name, value in pairs}
        secret = settings["AWS_SECRET_ACCESS_KEY"]
        assert len(secret) == 40
        assert not any(secret in line for line in [started.stdout, started.stderr, *alive()])
        assert settings["AWS_ENDPOINT_URL"] in started.stdout

        client = _client(settings)
        client.put_object(Bucket="photos", Key="a/b", Body=b"0123456789")
        part = client.get_object(Bucket="photos", Key="a/b", Range="bytes=2-4")
        assert part["Body"].read() == b"234"
        with pytest.raises(ClientError, match="SignatureDoesNotMatch"):
            _client(settings, secret="wrong").list_buckets()
        client.close()
    finally:
        stopped = program("s3_server.py", "stop", "--dir", folder)
    assert stopped.returncode == 0, stopped.stderr
    assert alive() == []
    assert program("s3_server.py", "stop", "--dir", folder).returncode == 0


def test_objects_and_key_outlive_a_restart_on_other_ports(tmp_path):
    folder = tmp_path / "s3"
    first = s3_server.start(folder, bucket="photos")
    try:
        assert s3_server.start(folder, bucket="photos") == first  # already running
        client = _client(first)
        client.put_object(Bucket="photos", Key="k", Body=b"kept")
        client.close()
        s3_server.stop(folder)
        assert not s3_server.is_running(folder)
        used = int(first["AWS_ENDPOINT_URL"].rpartition(":")[2])
        second = s3_server.start(folder, port=used + 20 if used < 60_000 else used - 20)
        assert second["AWS_SECRET_ACCESS_KEY"] == first["AWS_SECRET_ACCESS_KEY"]
        assert second["AWS_ENDPOINT_URL"] != first["AWS_ENDPOINT_URL"]
        client = _client(second)
        assert client.get_object(Bucket="photos", Key="k")["Body"].read() == b"kept"
        client.close()
    finally:
        s3_server.stop(folder)


def test_a_restart_is_at_the_same_address_or_says_that_it_is_not(tmp_path, program):
    folder = tmp_path / "s3"
    port = background.free_port()

    def restarted():
        program("s3_server.py", "stop", "--dir", folder)
        return program("s3_server.py", "start", "--dir", folder).stdout

    try:
        first = program("s3_server.py", "start", "--dir", folder, "--port", port).stdout
        assert f":{port}, data in" in first
        assert restarted() == first
        program("s3_server.py", "stop", "--dir", folder)
        with socket.create_server(("127.0.0.1", port)):
            moved = restarted()
        assert f"It was at port {port} before: in each shell that uses it, run again\n" in moved
        assert moved.rstrip().endswith(f's3_server.py env --dir {folder})"')
        command = moved.splitlines()[-1]
        echo = f"{command}; echo $AWS_ENDPOINT_URL"
        done = subprocess.run(["sh", "-c", echo], capture_output=True, text=True)
        assert f"S3 server at {done.stdout.strip()}, data" in moved
        assert "before" not in restarted()
    finally:
        s3_server.stop(folder)


@pytest.mark.parametrize("name", ["s3_server", "ray_head", "demo", "job"])
def test_a_python_without_the_project_is_told_apart(name):
    path = LOCAL / f"{name}.py"
    done = subprocess.run(
        [sys.executable, "-S", path, "--help"], capture_output=True, text=True, cwd="/"
    )
    assert (done.returncode, done.stderr.count("\n")) == (2, 1)
    assert (
        f"{sys.executable}, has no retdm; run `make setup` in {LOCAL.parents[1]}, then this"
        in (done.stderr)
    )


def test_files_that_hold_the_key_are_private(tmp_path):
    folder = tmp_path / "s3"
    settings = s3_server.start(folder)
    s3_server.stop(folder)
    secret = settings["AWS_SECRET_ACCESS_KEY"].encode()
    holders = [p for p in folder.rglob("*") if p.is_file() and secret in p.read_bytes()]
    assert {p.name for p in holders} == {"secret", "connection.json", "proxy-server.conf"}
    assert {stat.S_IMODE(p.stat().st_mode) for p in holders} == {0o600}


def test_all_its_servers_listen_on_loopback_alone(tmp_path, addresses):
    folder = tmp_path / "s3"
    s3_server.start(folder)
    try:
        leaders = background.load_processes(folder / "processes.json").values()
        assert addresses(leaders) == {"127.0.0.1"}
    finally:
        s3_server.stop(folder)


def test_env_without_a_server_says_how_to_start_one(tmp_path, program):
    done = program("s3_server.py", "env", "--dir", tmp_path / "none")
    assert done.returncode == 2
    assert "no S3 server was started here; run `s3_server.py start --dir" in done.stderr


def test_a_bad_bucket_name_is_an_error_and_names_the_rule(tmp_path):
    folder = tmp_path / "s3"
    try:
        with pytest.raises(LocalServiceError, match=r"'A_B' cannot be created.*3 to 63 lower"):
            s3_server.start(folder, bucket="A_B")
    finally:
        s3_server.stop(folder)


def test_a_server_that_ends_at_once_is_an_error_with_its_log(tmp_path, monkeypatch):
    folder = tmp_path / "s3"
    monkeypatch.setattr(s3_server, "_REGION", "x\n[pipeline:main]\npipeline = nothing")
    with pytest.raises(LocalServiceError, match=r"(?s)did not start: its proxy part.*proxy\.log:"):
        s3_server.start(folder)
    assert not s3_server.is_running(folder)


def test_a_stranger_on_the_port_is_not_taken_for_the_server(tmp_path, impostor, monkeypatch):
    impostor.take(monkeypatch, 9110, times=1)
    try:
        settings = s3_server.start(tmp_path / "s3", bucket="photos")
        assert not settings["AWS_ENDPOINT_URL"].endswith(f":{impostor.port}")
        assert impostor.requests == []
    finally:
        s3_server.stop(tmp_path / "s3")


def test_without_swift_the_error_says_how_to_get_it(tmp_path, monkeypatch):
    monkeypatch.setattr("sys.executable", "/bin/false")
    with pytest.raises(
        LocalServiceError,
        match=r"ring files cannot be written .*for /bin/false\? Run `make setup`, then",
    ):
        s3_server.start(tmp_path / "s3")


def test_a_file_system_without_attributes_is_refused(tmp_path, monkeypatch):
    def refuse(*args, **kwargs):
        raise OSError(95, "Operation not supported")

    monkeypatch.setattr(os, "setxattr", refuse)
    with pytest.raises(LocalServiceError, match=r"extended attributes.*choose a folder on ext4"):
        s3_server.start(tmp_path / "s3")
