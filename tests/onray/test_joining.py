"""What stands between a program and its cluster is one line that says what to do."""

import importlib.metadata
import os
import signal
import subprocess
import sys

import pytest
import ray_head

from retdm.console import Stopped
from retdm.errors import ConfigError
from retdm.onray import joining
from retdm.onray.heeding import end_without_shutdown
from retdm.onray.installed import need_ray
from retdm.onray.joining import join


def test_an_address_where_nothing_answers(monkeypatch):
    monkeypatch.setenv("RAY_ADDRESS", "127.0.0.1:9")
    with pytest.raises(ConfigError, match=r"^RAY_ADDRESS 127\.0\.0\.1:9: no Ray cluster answers"):
        join()


@pytest.mark.parametrize("found", ["2.40.0", "2.6.0", "2.61.0"])
def test_another_ray_than_the_wanted(found, monkeypatch):
    monkeypatch.setattr("retdm.onray.installed.version", lambda _: found)
    with pytest.raises(ConfigError, match=rf"^Ray 2\.60 is needed, {found} is installed; run pip"):
        need_ray()


def test_no_ray(monkeypatch):
    def version(name):
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr("retdm.onray.installed.version", version)
    with pytest.raises(ConfigError, match=r"^Ray 2\.60 is needed, none is installed; run pip"):
        need_ray()


def test_the_installed_ray_is_the_wanted():
    need_ray()


@pytest.fixture
def ray_ends(monkeypatch):
    """How a block ended: by Ray's shutdown, or by what is called behind all else."""
    ends = []
    monkeypatch.setattr(joining.ray, "is_initialized", lambda: False)
    monkeypatch.setattr(joining.ray, "shutdown", lambda: ends.append("shutdown"))
    monkeypatch.setattr(joining, "connect", lambda *_, **__: None)
    monkeypatch.setattr(joining, "at_end", ends.append)
    return ends


def ended_by(error):
    with joining.joined():
        raise error


def test_ray_is_shut_down_behind_a_block_whatever_ends_it(ray_ends):
    with joining.joined():
        assert ray_ends == []
    assert ray_ends == ["shutdown"]
    with pytest.raises(ZeroDivisionError):
        ended_by(ZeroDivisionError())
    assert ray_ends == ["shutdown"] * 2


def test_a_signal_ends_the_process_without_the_shutdown_that_threads_would_meet(ray_ends):
    with pytest.raises(Stopped):
        ended_by(Stopped("stopped by SIGTERM", signal.SIGTERM))
    assert ray_ends == [end_without_shutdown]


_PROGRAM = """\
import sys
from retdm.console import run
from retdm.onray.joining import join
sys.exit(run(lambda: int(not join())))
"""


@pytest.fixture(scope="module")
def cluster(tmp_path_factory):
    """The variables that lead to a Ray head which wants a token."""
    folder = tmp_path_factory.mktemp("ray")
    yield ray_head.start(folder, num_cpus=1, auth="token", tied=True)
    ray_head.stop(folder)


@pytest.mark.cluster
@pytest.mark.slow
@pytest.mark.parametrize(
    ("before", "changed", "said"),
    [
        pytest.param(
            "",
            {"RAY_AUTH_TOKEN": "0" * 64},
            "if it wants a token, set RAY_AUTH_MODE=token, and RAY_AUTH_TOKEN or",
            id="token",
        ),
        pytest.param(
            "import ray; ray.__version__ = '2.40.0'",
            {},
            "the cluster runs Ray 2.60.",
            id="version",
        ),
    ],
)
def test_a_cluster_that_does_not_take_the_program(cluster, before, changed, said):
    done = subprocess.run(
        [sys.executable, "-c", f"{before}\n{_PROGRAM}"],
        env=os.environ | cluster | changed, capture_output=True, text=True, timeout=200,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert said in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
