"""Temporary folders: gone with their process, or with the next one after a kill."""

import os
import signal
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from retdm.scratch import Scratch

CHILD = """
import sys
from retdm.scratch import Scratch
scratch = Scratch("log")
(scratch.path / "x").write_text("x")
print(scratch.path, flush=True)
sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def temporary(tmp_path, monkeypatch):
    """A temporary folder of the system's, for this process and its children."""
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def child():
    """A process that holds a folder; and the folder."""
    with subprocess.Popen(
        [sys.executable, "-c", CHILD], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_a_folder_is_there_until_it_is_closed(temporary):
    with Scratch("load") as folder:
        assert folder.parent == temporary
        assert folder.is_dir()
    assert not list(temporary.iterdir())
    scratch = Scratch("load")
    scratch.close()
    scratch.close()


def test_folders_of_living_processes_stay_and_those_of_killed_ones_go(child, temporary):
    process, folder = child
    with Scratch("load"):
        assert (folder / "x").exists()
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert (folder / "x").exists()
    with Scratch("load") as own:
        assert list(temporary.iterdir()) == [own]


def test_what_others_left_there_is_not_touched(temporary):
    (temporary / "retdm-log-old").mkdir()
    (temporary / "retdm-scratch-file").write_text("x")
    Scratch("load").close()
    assert sorted(os.listdir(temporary)) == ["retdm-log-old", "retdm-scratch-file"]


def test_a_folder_that_a_sweep_took_before_it_was_held_is_made_again(monkeypatch, temporary):
    real, made = tempfile.mkdtemp, []

    def taken(**options):
        made.append(real(**options))
        if len(made) == 1:
            os.rmdir(made[0])
        return made[-1]

    monkeypatch.setattr(tempfile, "mkdtemp", taken)
    with Scratch("load") as folder:
        assert [str(folder)] == made[1:]
        assert folder.is_dir()
