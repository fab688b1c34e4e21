"""The program that checks what Prometheus is given."""

import shutil
import subprocess

import pytest


@pytest.fixture
def promtool():
    """Runs it with some words; returns what it says."""
    program = shutil.which("promtool")
    if program is None:
        pytest.skip("needs promtool; on Debian: apt install prometheus")

    def run(*words):
        done = subprocess.run(
            [program, *map(str, words)], capture_output=True, text=True, timeout=120
        )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout

    return run
