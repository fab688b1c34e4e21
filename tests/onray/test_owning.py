"""What a cluster has once, one program at a time has."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
ROOT = Path(__file__).resolve().parents[2]
PROGRAM = """
from retdm.onray.owning import owned
import ray
from pytest import MonkeyPatch

def none_yet(*_, **__):
    raise ValueError

ray.init(address="local", num_cpus=1, include_dashboard=False, log_to_driver=False)
with owned("serve") as first:
    with owned("serve") as second, owned("other") as other:
        print("at once:", first, second, other)
    with MonkeyPatch.context() as patch:
        # Ray looks for the name before it asks for it; two programs can look at the same moment.
        patch.setattr(ray, "get_actor", none_yet)
        with owned("serve") as second:
            print("in a race:", second)
with owned("serve") as again:
    print("then:", again)
"""


def test_one_of_two_has_it_and_the_next_when_that_has_ended():
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=env, capture_output=True, text=True, timeout=240
    )
    assert done.stdout.splitlines() == [
        "at once: True False True",
        "in a race: False",
        "then: True",
    ], done.stderr
