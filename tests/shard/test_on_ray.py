"""Building on a real Ray cluster: the bytes of a build by one process."""

import dataclasses
import os
import subprocess
import sys

import pytest
import ray_head

pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The variables that lead to a Ray head of this machine."""
    folder = tmp_path_factory.mktemp("ray")
    client = ray_head.start(folder, num_cpus=2, auth="disabled", tied=True)
    yield client
    ray_head.stop(folder)


def run(cluster, *arguments, address=()):
    return subprocess.run(
        [sys.executable, "-m", "retdm.shard", "build", *map(str, arguments), "--ray", *address],
        env={**os.environ, **cluster},
        capture_output=True,
        text=True,
        timeout=200,
    )


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_bytes_are_those_of_one_process(cluster, source, shards, tmp_path):
    arguments = (source / "spec.toml", "--source", source, "--out")
    done = run(cluster, *arguments, tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "packing [####################] 20/20 photo" in done.stderr
    assert content(tmp_path / "out") == content(shards)

    (source / "images/3.jpg").write_bytes(b"")
    (source / "images/9.jpg").write_bytes(b"<html>")
    bad = run(cluster, *arguments, tmp_path / "bad", address=(cluster["RAY_ADDRESS"],))
    assert bad.returncode == 2
    lines = bad.stderr.strip().split("\n")
    assert lines[-3].startswith("error: 2 photos cannot be packed:")
    assert sorted(line.split(":")[1] for line in lines[-2:]) == [" row 11", " row 5"]
    assert content(tmp_path / "bad") == {}


def test_no_cluster(source, tmp_path):
    arguments = (source / "spec.toml", "--source", source, "--out", tmp_path / "out")
    done = run({}, *arguments, address=("127.0.0.1:9",))
    assert done.returncode == 2
    assert "error: --ray 127.0.0.1:9: no Ray cluster answers there" in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "out/manifest.json").exists()


def test_a_machine_that_does_not_see_the_place(source, tmp_path):
    # The probe is what every machine runs; here in this process.
    from retdm.shard.afar import _unreachable
    from retdm.shard.claim import claim
    from retdm.storage import open_store

    with claim(open_store(str(tmp_path / "out"))) as held:
        assert _unreachable(source, held) is None
        gone = _unreachable(tmp_path / "gone", held)
        assert gone.startswith(f"--source {tmp_path}/gone is not there; mount it under the same")
        elsewhere = dataclasses.replace(held, store=open_store(str(tmp_path / "other")))
        assert "--out is not the same place" in _unreachable(source, elsewhere)
