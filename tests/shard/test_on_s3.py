"""The same on a real S3 server: equal bytes, and its own ways to fail."""

import os
import re
import signal
import subprocess
import sys
import time

import pytest

from retdm.data.manifest import MANIFEST
from retdm.storage import open_store
from retdm.storage.s3 import S3Store

pytestmark = pytest.mark.cluster


@pytest.fixture
def arguments(source):
    return ["build", source / "spec.toml", "--source", source, "--out"]


def test_a_bucket_gets_the_bytes_that_a_folder_gets(s3, cli, arguments, shards):
    url = s3.url("set")
    assert cli(*arguments, url)[0] == 0
    store = open_store(url)
    assert {name: store.read(name) for name in store.names()} == {
        str(p.relative_to(shards)): p.read_bytes() for p in shards.rglob("*") if p.is_file()
    }
    assert cli("verify", url)[:2] == (0, f"{url}: sound\n")
    assert cli("stats", url, "--json")[1] == cli("stats", shards, "--json")[1]


def test_bytes_damaged_on_the_way_are_no_fault_of_the_set(s3, faults, cli, arguments):
    url = s3.url("set")
    assert cli(*arguments, url)[0] == 0
    faults.inject("flip", 0.3)
    assert cli("verify", url, "--workers", "1")[:2] == (0, f"{url}: sound\n")
    assert faults.injected["flip"] >= 3


_DIES = """
import os, signal, sys
from retdm.shard.__main__ import main
from retdm.storage.s3 import S3Store

def write(self, name, content, real=S3Store.write):
    if name == "_build/train-000002.json":
        os.kill(os.getpid(), signal.SIGKILL)
    real(self, name, content)

S3Store.write = write
sys.exit(main())
"""


def test_a_killed_build_goes_on(s3, cli, arguments, shards, tmp_path):
    url = s3.url("set")
    command = [sys.executable, "-c", _DIES, *arguments, url, "--workers", "1"]
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)})
    assert done.returncode == -signal.SIGKILL
    assert list(temporary.iterdir()) == []
    assert cli("verify", url)[0] == 2
    client, prefix = s3.client(), url.removeprefix("s3://tests/")
    first = client.head_object(Bucket="tests", Key=f"{prefix}/train/000001.tar")["LastModified"]
    time.sleep(1.1)  # the server tells times by the second
    assert cli(*arguments, url)[0] == 0
    again = client.head_object(Bucket="tests", Key=f"{prefix}/train/000001.tar")["LastModified"]
    assert again == first
    store = open_store(url)
    assert {name: store.read(name) for name in store.names()} == {
        str(p.relative_to(shards)): p.read_bytes() for p in shards.rglob("*") if p.is_file()
    }


@pytest.mark.parametrize(
    "last, told",
    [
        ("_build/train-000001.json", "train/000002.tar"),  # before a tar: the claim is read
        ("train/000001.tar", "train/000001.idx"),
        ("train/000001.idx", "train/000001.tar"),  # before the record
        ("_build/test-000000.json", "manifest.json"),
    ],
)
def test_a_lost_storage_is_one_error_about_the_work(
    s3, faults, cli, arguments, monkeypatch, last, told
):
    def write(self, name, content, real=S3Store.write):
        real(self, name, content)
        if name == last:
            faults.refuse()

    url = s3.url("set")
    with monkeypatch.context() as patch:
        patch.setattr(S3Store, "write", write)
        patch.setenv("RETDM_S3_PATIENCE_S", "3")
        started = time.monotonic()
        status, _, err = cli(*arguments, url, "--workers", "1")
        assert time.monotonic() - started < 9  # twice the patience would be for the claim, too
    assert status == 2
    *others, error = err.strip().split("\n")
    assert re.fullmatch(
        rf"error: {url}/{told}: (cannot reach|lost the connection to) {faults.url} \(.*; tried "
        r"\d+ times in 3\.\d s; RETDM_S3_PATIENCE_S is 3, .*\); check that the server runs, the "
        r"network, and AWS_ENDPOINT_URL; then run the same command again: finished tars are kept",
        error,
    )
    assert not [line for line in others if "_build/" in line]
    faults.accept()
    time.sleep(3)  # the claim goes; a program that ended would be known to be dead
    assert cli(*arguments, url)[0] == 0
    assert cli("verify", url)[0] == 0


def test_a_damaged_object_is_named(s3, cli, arguments):
    url = s3.url("set")
    cli(*arguments, url)
    store = open_store(url)
    content = bytearray(store.read("train/000002.tar"))
    content[700] ^= 255
    store.write("train/000002.tar", bytes(content))
    status, out, _ = cli("verify", url)
    assert status == 1
    assert "train/000002.tar: sha256 is" in out


def test_a_bad_photo_leaves_no_object(s3, cli, arguments, source):
    url = s3.url("set")
    (source / "images/19.jpg").write_bytes(b"")
    status, _, err = cli(*arguments, url)
    assert status == 2
    assert "labels.csv: row 21: photo" in err
    assert open_store(url).names() == []


def test_a_missing_bucket_is_an_error_and_is_not_made(s3, cli, arguments):
    status, _, err = cli(*arguments, "s3://no-such-bucket/set")
    assert status == 2
    assert "s3://no-such-bucket" in err
    assert "bucket" in err
    names = [bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]]
    assert "no-such-bucket" not in names


def test_wrong_credentials(s3, cli, arguments, monkeypatch):
    url = s3.url("set")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-4711")
    status, _, err = cli(*arguments, url)
    assert status == 2
    assert url in err
    assert "AWS_SECRET_ACCESS_KEY" in err
    assert "wrong-secret-4711" not in err
    monkeypatch.undo()
    assert open_store(url).size(MANIFEST) is None


_READS_AND_DIES = """
import os, signal, sys
import retdm.shard.verify_tar as module
from retdm.shard.__main__ import main

def die(path):
    assert os.path.getsize(path) > 1024
    os.kill(os.getpid(), signal.SIGKILL)

module.read_samples = die
sys.exit(main())
"""


def test_a_killed_verify_leaves_no_tar_behind(s3, cli, arguments, tmp_path):
    url = s3.url("set")
    assert cli(*arguments, url)[0] == 0
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    command = [sys.executable, "-c", _READS_AND_DIES, "verify", url, "--workers", "1"]
    done = subprocess.run(command, env={**os.environ, "TMPDIR": str(temporary)})
    assert done.returncode == -signal.SIGKILL
    assert list(temporary.iterdir()) == []
