"""Shared fixtures: a real S3 server, pools of gloo processes, real photos."""

import concurrent.futures
import contextlib
import itertools
import multiprocessing
import os
import signal
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import hypothesis
import pytest

if TYPE_CHECKING:
    from tests.storage.fault_proxy import FaultProxy

ROOT = Path(__file__).resolve().parents[1]

# The first: processes started by tests import test modules under the names pytest gave them
# (tests.NAME). The second: the programs of cluster/local import each other as scripts do.
sys.path[:0] = [str(ROOT), str(ROOT / "cluster/local")]

# The first example pays for imports, and machines that run tests are shared: time limits on
# single examples would only make failures at random. Examples are the same in every run.
hypothesis.settings.register_profile("retdm", deadline=None, derandomize=True, max_examples=60)
hypothesis.settings.load_profile("retdm")

# No test may reach a real cloud or a running Ray cluster, whatever the caller's shell holds.
for _name in [name for name in os.environ if name.startswith(("AWS_", "RAY_"))]:
    del os.environ[_name]
os.environ |= {
    "AWS_CONFIG_FILE": os.devnull,
    "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
    "AWS_EC2_METADATA_DISABLED": "true",
    "RAY_AUTH_MODE": "disabled",
    "RAY_USAGE_STATS_ENABLED": "0",
    # Tensors of tests are small. Threads that share such work wait for each other, and where
    # another program wants the cores, for a hundred times as long as the work takes.
    "OMP_NUM_THREADS": "1",
}

long = pytest.mark.skipif(
    os.environ.get("RETDM_LONG") != "1", reason="takes minutes; set RETDM_LONG=1 to run it"
)
"""On tests of what shorter ones show as well, but for a case of it."""


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark what uses the S3 server as `cluster`, before `-m` chooses."""
    for item in items:
        if "s3" in getattr(item, "fixturenames", ()):
            item.add_marker("cluster")


@pytest.fixture(scope="module", autouse=True)
def _no_server_is_left() -> Iterator[None]:
    """Fail if a module leaves a thread that serves: of a closed socket it takes all the time."""
    yield
    left = [thread.name for thread in threading.enumerate() if "serve_forever" in thread.name]
    assert not left, f"servers that were not shut down: {left}"


@pytest.fixture(scope="session")
def shared_data() -> Path:
    """The folder of real photos; without it the test is skipped."""
    folder = Path(os.environ.get("RETDM_TEST_DATA") or ROOT.parent / "shared/data")
    if not folder.is_dir():
        pytest.skip(f"no real photos at {folder}; set RETDM_TEST_DATA to their folder")
    return folder


class S3:
    """A running S3 server whose settings are in this process's environment."""

    def __init__(self, environment: dict[str, str]) -> None:
        self.environment = environment
        """The AWS variables, for subprocesses and Ray's runtime_env."""
        self.endpoint = environment["AWS_ENDPOINT_URL"]
        self.bucket = "tests"
        self._numbers = itertools.count()

    def url(self, name: str = "x") -> str:
        """An s3:// URL in an existing bucket under which nothing lies yet."""
        return f"s3://{self.bucket}/{name}-{next(self._numbers)}"

    def client(self) -> Any:
        """A boto3 client, to look at objects or damage them."""
        import boto3

        return boto3.client("s3")


@pytest.fixture(scope="session")
def s3_started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3]:
    """OpenStack Swift on loopback, started once; AWS_* variables point at it until the end."""
    import s3_server

    folder = tmp_path_factory.mktemp("s3")
    environment = s3_server.start(folder, bucket="tests", tied=True)
    with pytest.MonkeyPatch.context() as patch:
        for name, value in environment.items():
            patch.setenv(name, value)
        yield S3(environment)
    s3_server.stop(folder)


@pytest.fixture(scope="module")
def s3(s3_started: S3) -> Iterator[S3]:
    """The S3 server, whose bucket is emptied behind each test module.

    The checkpoints of all modules at once would fill a small disk.
    """
    import boto3

    yield s3_started
    boto3.resource("s3").Bucket(s3_started.bucket).objects.delete()


@pytest.fixture
def faults(s3: S3, monkeypatch: pytest.MonkeyPatch) -> Iterator["FaultProxy"]:
    """A proxy before the S3 server that does harm on request; AWS_ENDPOINT_URL points at it."""
    from tests.storage.fault_proxy import FaultProxy

    with FaultProxy(s3.endpoint) as proxy:
        monkeypatch.setenv("AWS_ENDPOINT_URL", proxy.url)
        yield proxy


class Ranks:
    """A gloo process group; runs a module-level function on every rank."""

    def __init__(self, world_size: int, folder: Path) -> None:
        self.world_size = world_size
        self._folder = folder
        self._starts = itertools.count()
        self._pools: list[concurrent.futures.ProcessPoolExecutor] = []
        self._pids: list[int] = []

    def run(self, function: Callable[..., Any], *args: Any, timeout_s: float = 120) -> list[Any]:
        """Call `function(rank, *args)` on all ranks; the results in rank order.

        A failure on one rank ends the group (the others may hang in a collective) and is raised
        here; the next call starts a new one.
        """
        if not self._pools:
            self._start()
        futures = [pool.submit(function, rank, *args) for rank, pool in enumerate(self._pools)]
        done, waiting = concurrent.futures.wait(
            futures, timeout_s, concurrent.futures.FIRST_EXCEPTION
        )
        failures = [error for future in done if (error := future.exception())]
        if failures or waiting:
            self.close()
            if failures:
                raise failures[0]
            late = [rank for rank, future in enumerate(futures) if future in waiting]
            raise TimeoutError(f"ranks {late} did not finish within {timeout_s} s")
        return [future.result() for future in futures]

    def _start(self) -> None:
        store = self._folder / f"store-{self.world_size}-{next(self._starts)}"
        context = multiprocessing.get_context("spawn")
        self._pools = [
            concurrent.futures.ProcessPoolExecutor(
                1, context, _join, (rank, self.world_size, str(store))
            )
            for rank in range(self.world_size)
        ]
        # Submit to all before waiting for any: a rank joins only when all are there.
        pids = [pool.submit(os.getpid) for pool in self._pools]
        self._pids = [pid.result(timeout=120) for pid in pids]

    def close(self) -> None:
        """End the processes; a later `run` starts new ones."""
        for pid in self._pids:
            with contextlib.suppress(ProcessLookupError):  # it ended by itself
                os.kill(pid, signal.SIGKILL)
        for pool in self._pools:
            pool.shutdown(wait=True, cancel_futures=True)
        self._pools, self._pids = [], []


def _join(rank: int, world_size: int, store: str) -> None:
    import torch
    import torch.distributed as dist

    torch.set_num_threads(1)
    os.environ |= {
        "GLOO_SOCKET_IFNAME": "lo",
        "RANK": str(rank),
        "WORLD_SIZE": str(world_size),
        "LOCAL_RANK": str(rank),
    }
    dist.init_process_group(
        "gloo",
        init_method=f"file://{store}",
        rank=rank,
        world_size=world_size,
        timeout=timedelta(seconds=60),
    )


@pytest.fixture(scope="session")
def ranks(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[int], Ranks]]:
    """`ranks(2).run(function, *args)`: real gloo process groups, kept for the session."""
    groups: dict[int, Ranks] = {}
    folder = tmp_path_factory.mktemp("ranks")

    def group(world_size: int) -> Ranks:
        return groups.setdefault(world_size, Ranks(world_size, folder))

    yield group
    for one in groups.values():
        one.close()
