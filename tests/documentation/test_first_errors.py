"""What a newcomer is likely to meet first is told in one line, with what to do."""

import os
import re
import subprocess
import sys

import pytest

from retdm.errors import ConfigError
from retdm.onray.installed import need_ray
from retdm.onray.joining import join
from tests.conftest import ROOT

README = " ".join((ROOT / "README.md").read_text().split())


def _run(*command, cwd=ROOT, **env):
    done = subprocess.run(
        [str(word) for word in command],
        env={**os.environ, "PYTHONPATH": str(ROOT), **env}, cwd=cwd,
        capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert "Traceback" not in done.stderr, done.stderr
    return done


def _told(text):
    """What README says of an error, by its first words."""
    (row,) = re.findall(rf"\| `{re.escape(text)}[^|]*\|", README)
    return row


def test_a_python_that_is_too_old(tmp_path):
    old = tmp_path / "python"
    old.write_text(
        f'#!/bin/sh\nexec {sys.executable} -c "import sys; sys.version_info = (3, 9, 2); '
        'exec(sys.argv[1])" "$2"\n'
    )
    old.chmod(0o755)
    done = _run("make", "-s", "setup", f"PYTHON={old}", f"VENV={tmp_path}/venv")
    said = f"error: Python 3.11 or later is needed, {old} is 3.9; run make PYTHON=..."
    assert done.stderr.splitlines()[0] == said
    assert not (tmp_path / "venv").exists()
    assert _told("error: Python 3.11 or later is needed")


def test_s3_without_its_variables():
    verify = (sys.executable, "-m", "retdm.shard", "verify", "s3://photos/pets")
    done = _run(*verify, AWS_ACCESS_KEY_ID="", AWS_SECRET_ACCESS_KEY="")
    assert done.returncode == 2
    assert done.stderr == (
        "error: s3://photos/pets/manifest.json: no S3 credentials found; set AWS_ACCESS_KEY_ID "
        "and AWS_SECRET_ACCESS_KEY\n"
    )
    assert _told("no S3 credentials found")


def test_a_disk_without_space(tmp_path):
    alone = ("unshare", "--mount", "--user", "--map-root-user")
    if subprocess.run([*alone, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a mount namespace")
    script = 'mount -t tmpfs -o size=8k none "$0" && exec "$@"'
    small = tmp_path / "small"
    small.mkdir()
    build = (sys.executable, "-m", "retdm.shard", "build", "shards/synthetic.toml")
    options = ("--set", "options.images=20", "--set", "options.size=48")
    (tmp_path / "source").mkdir()
    done = _run(
        *alone, "sh", "-c", script, small, *build, "--source", tmp_path / "source", "--out",
        small / "shards", *options,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert re.search(
        r"^error: .*/small/shards/\S+: No space left on device; check permissions and free space",
        done.stderr, re.MULTILINE,
    )  # fmt: skip
    assert _told("No space left on device")


def test_another_ray_than_the_wanted(monkeypatch):
    monkeypatch.setattr("retdm.onray.installed.version", lambda _: "2.40.0")
    with pytest.raises(ConfigError) as raised:
        need_ray()
    assert _told(str(raised.value).partition(",")[0])


def test_a_cluster_that_has_gone(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigError, match="no Ray cluster answers there"):
        join()
    assert _told("no Ray cluster answers there")
