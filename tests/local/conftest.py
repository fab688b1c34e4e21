"""What the tests of the local programs share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

LOCAL = Path(__file__).resolve().parents[2] / "cluster/local"


@pytest.fixture
def program(tmp_path):
    """`program("s3_server.py", "start", ...)`: run one of the programs, as a shell would."""

    def run(name, *arguments, env=None):
        return subprocess.run(
            [sys.executable, str(LOCAL / name), *map(str, arguments)],
            env=os.environ | (env or {}),
            cwd=tmp_path,
            capture_output=True,
            text=True,
            timeout=240,
        )

    return run


@pytest.fixture
def marked():
    """An environment entry, and a function that lists the processes that carry it."""
    entry = {"RETDM_TEST_MARK": os.urandom(8).hex()}
    wanted = f"RETDM_TEST_MARK={entry['RETDM_TEST_MARK']}".encode()

    def alive():
        found = []
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                if wanted in (folder / "environ").read_bytes().split(b"\0"):
                    found.append((folder / "cmdline").read_bytes().replace(b"\0", b" ").decode())
            except OSError:  # it ended meanwhile, or is not ours
                continue
        return found

    return entry, alive
