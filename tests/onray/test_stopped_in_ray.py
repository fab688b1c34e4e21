"""A program that is stopped while its threads are in Ray has the signal's status."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
import atexit, os, signal, sys, threading, time
atexit.register(time.sleep, 3)  # would come behind Ray's shutdown, which is registered next
import ray
from retdm.console import run
from retdm.onray.stopping import run_stoppably

@ray.remote
def never():
    time.sleep(600)

def work():
    threading.Thread(target=os.kill, args=(os.getpid(), signal.SIGTERM)).start()
    while True:
        ray.wait([never.remote()], timeout=0.01)

def main():
    ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
    print("session", ray._private.worker._global_node.get_session_dir_path(), flush=True)
    run_stoppably(work, "s3://b/run", lambda: [])
    return 0

sys.exit(run(main))
"""


def test_a_signal_ends_a_program_in_ray_with_the_signals_status_and_ends_its_ray():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.returncode == 143, done.stderr
    assert done.stderr.splitlines()[-1].startswith("stopped by SIGTERM; nothing was training; ")
    session = done.stdout.split("session ")[1].strip()
    left = subprocess.run(["pgrep", "-f", session], capture_output=True, text=True)
    assert left.stdout == ""
