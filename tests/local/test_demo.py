"""The demo: says what fails, and leaves nothing running, however it ends."""

import os
import shutil
import signal
import subprocess
import sys
import time

import demo
import pytest
from background import LocalServiceError

from tests.conftest import long

DEMO = demo.__file__


def _start(folder, mark, *options):
    return subprocess.Popen(
        [sys.executable, DEMO, "--dir", str(folder), "--images", "40", *options],
        env=os.environ | mark,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def _read_until(process, wanted):
    seen = ""
    for line in process.stdout:
        seen += line
        if wanted in line:
            return
    raise AssertionError(f"no {wanted!r} in:\n{seen}")


@long
@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_it_goes_from_photos_to_metrics_and_leaves_nothing_running(tmp_path, marked):
    mark, alive = marked
    with _start(tmp_path / "demo", mark) as process:
        output = process.communicate(timeout=800)[0]
    assert process.returncode == 0, output
    assert "[6/6]" in output
    assert "mAP" in output
    assert alive() == []


@pytest.mark.cluster
@pytest.mark.slow
def test_a_job_that_fails_is_shown_and_nothing_is_left(tmp_path, marked):
    mark, alive = marked
    folder = tmp_path / "demo"
    recipe = "jobs/recipes/no-such-recipe.toml"
    with _start(folder, mark, "--recipe", recipe) as process:
        output = process.communicate(timeout=240)[0]
    assert process.returncode == 1, output
    assert f"the job failed; the end of {folder}/job.log:" in output
    assert f"error: {recipe}: no such file" in output.partition("the job failed")[2]
    assert (folder / "ray/logs/gcs_server.out").exists()
    secret = (folder / "s3/secret").read_text()
    assert secret not in output
    logs = [p for p in (folder / "ray").rglob("*") if p.is_file()]
    assert not [p for p in logs if secret.encode() in p.read_bytes()]
    assert alive() == []


@pytest.mark.cluster
@pytest.mark.slow
def test_ctrl_c_ends_everything(tmp_path, marked):
    mark, alive = marked
    with _start(tmp_path / "demo", mark) as process:
        _read_until(process, "[2/6]")  # the S3 server runs, the Ray head is starting
        assert len(alive()) > 5
        process.send_signal(signal.SIGINT)
        output = process.communicate(timeout=60)[0]
    assert process.returncode == 130
    assert "stopping the servers" in output
    assert "Traceback" not in output
    assert alive() == []


@pytest.mark.cluster
@pytest.mark.slow
def test_a_killed_demo_takes_its_servers_with_it(tmp_path, marked):
    mark, alive = marked
    with _start(tmp_path / "demo", mark) as process:
        _read_until(process, "rendering")
        process.kill()
    deadline = time.monotonic() + 60
    while (left := alive()) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert left == []
    if (session := tmp_path / "demo/ray/session").exists():  # nobody was left to delete it
        shutil.rmtree(session.read_text(), ignore_errors=True)


def test_a_folder_that_no_demo_made_is_not_emptied(tmp_path):
    (tmp_path / "thesis.tex").write_text("x")
    with pytest.raises(LocalServiceError, match="files that no demo made; choose an empty folder"):
        demo._empty(tmp_path)
    assert (tmp_path / "thesis.tex").exists()


def test_a_folder_of_an_earlier_demo_is_emptied(tmp_path):
    folder = tmp_path / "demo"
    demo._empty(folder)
    (folder / "old").write_text("x")
    demo._empty(folder)
    assert not (folder / "old").exists()
    assert folder.stat().st_mode & 0o777 == 0o700


def test_steps_are_numbered_and_timed(capsys):
    steps = demo.Steps(2)
    with steps.step("one"):
        print("working")
    assert capsys.readouterr().out == "\n[1/2] one\nworking\n      0.0 s\n"
    assert steps.table() == "     0.0 s  one\n     0.0 s  all"
