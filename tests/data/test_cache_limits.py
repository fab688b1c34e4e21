"""The node cache where things go wrong: full disks, killed processes, jobs that share it."""

import hashlib
import json
import logging
import multiprocessing
import os
import random
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from retdm.data.cache import NodeCache
from retdm.data.manifest import ShardInfo
from retdm.errors import TransientStorageError
from retdm.storage.file import FileStore

SIZE = 400_000
_NAMESPACE = ["unshare", "--map-root-user", "--mount"]


class Remote(FileStore):
    """A folder that plays the bucket."""


@dataclass(frozen=True)
class Slow(Remote):
    """One that writes a little at a time, as a network does."""

    def download(self, name: str, to: Path) -> None:
        with to.open("r+b") as file:
            content = self.read(name)
            for start in range(0, len(content), 20_000):
                file.write(content[start : start + 20_000])
                file.flush()
                time.sleep(0.001)


def put(root: Path, count: int) -> list[ShardInfo]:
    shards = []
    for number in range(count):
        content = random.Random(number).randbytes(SIZE)
        FileStore(root).write(f"{number}.tar", content)
        digest = hashlib.sha256(content).hexdigest()
        shards.append(
            ShardInfo(name=f"{number}.tar", samples=1, bytes=SIZE, sha256=digest, index_sha256="")
        )
    return shards


def is_right(path: Path) -> bool:
    return hashlib.sha256(path.read_bytes()).hexdigest() == path.stem


def held(folder: Path) -> list[Path]:
    return list(folder.glob("*.tar"))


@pytest.fixture(scope="module")
def bucket(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("bucket")


@pytest.fixture(scope="module")
def shards(bucket: Path) -> list[ShardInfo]:
    return put(bucket, 8)


def _on_a_small_disk(folder: Path, mount: str, program: str) -> Any:
    """What the program prints as JSON; `folder` is a tmpfs of its own, seen by nobody else."""
    if subprocess.run([*_NAMESPACE, "true"], capture_output=True).returncode:
        pytest.skip("this machine lets nobody make a mount namespace")
    folder.mkdir()
    script = 'mount -t tmpfs -o "$0" none "$1" && exec "$2" -c "$3" "$1"'
    done = subprocess.run(
        [*_NAMESPACE, "sh", "-c", script, mount, str(folder), sys.executable, program],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": str(Path(__file__).resolve().parents[2])},
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout), done.stderr


_FETCH_ALL = """
import json, os, sys
from pathlib import Path
from retdm.data.cache import NodeCache
from tests.data.test_cache_limits import Remote, held, is_right, put
{before}
remote, folder = Remote(Path(sys.argv[1], "../bucket")), Path(sys.argv[1])
cache = NodeCache(folder, 100 * {size}, {in_use} * {size})
seen = []
for shard in put(remote.root, 8) * 2:
    path = cache.fetch(remote, shard)
    assert path is None or is_right(path)
    seen.append(path is not None)
print(json.dumps([seen, all(map(is_right, held(folder))), len(held(folder))]))
"""


@pytest.mark.parametrize(
    "before",
    [
        "",
        # A file system that cannot set room aside: the disk gets full in the download.
        "os.posix_fallocate = lambda *_: (_ for _ in ()).throw(OSError(95, 'not supported'))",
    ],
)
def test_on_a_full_disk_the_longest_unused_shards_make_room(tmp_path: Path, before: str) -> None:
    program = _FETCH_ALL.format(before=before, size=SIZE, in_use=1)
    (seen, right, count), log = _on_a_small_disk(tmp_path / "c", "size=1400k", program)
    assert seen == [True] * 16
    assert right
    assert 1 <= count <= 3
    assert "full" not in log


def test_shards_in_use_are_not_thrown_out_for_one_another_on_a_full_disk(tmp_path: Path) -> None:
    program = _FETCH_ALL.format(before="", size=SIZE, in_use=8)
    (seen, right, count), log = _on_a_small_disk(tmp_path / "c", "size=1400k", program)
    assert seen == ([True] * 3 + [False] * 5) * 2
    assert (right, count) == (True, 3)
    assert log.count("the disk is full, so samples are read one by one from") == 1


@pytest.mark.parametrize("files", [1, 3, 5])
def test_a_disk_that_takes_no_more_files_is_a_full_disk(tmp_path: Path, files: int) -> None:
    program = _FETCH_ALL.format(before="", size=SIZE, in_use=8)
    (seen, right, count), log = _on_a_small_disk(
        tmp_path / "c", f"size=100m,nr_inodes={files}", program
    )
    assert right
    assert sum(seen) == 2 * count
    assert log.count("the disk is full") == 1


def test_a_file_that_may_not_grow_is_a_full_disk(
    bucket: Path, shards: list[ShardInfo], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache = NodeCache(tmp_path / "cache", 10 * SIZE)
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (SIZE - 1, before[1]))
    try:
        with caplog.at_level(logging.WARNING):
            assert [cache.fetch(Remote(bucket), shard) for shard in shards] == [None] * 8
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caplog.text.count("the disk is full, so samples are read one by one from") == 1
    assert cache.used_bytes() == 0


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(2, multiprocessing.get_context("spawn")) as pool:
        yield pool


def _fetch_for_ever(remote: Remote, folder: Path, limit: int, shards: list[ShardInfo]) -> None:
    cache = NodeCache(folder, limit)
    while True:
        for shard in random.sample(shards, len(shards)):
            cache.fetch(remote, shard)


def _kill(remote: Remote, folder: Path, limit: int, shards: list[ShardInfo], times: int) -> int:
    """Kill fetching processes at random points; how many downloads that cut off."""
    cut = 0
    for _ in range(times):
        child = os.fork()
        if not child:
            _fetch_for_ever(remote, folder, limit, shards)
        time.sleep(random.uniform(0.01, 0.15))
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        cut += bool(list(folder.glob("*.part")))
        assert all(is_right(path) for path in held(folder))
        assert NodeCache(folder, limit).used_bytes() <= limit
    return cut


def test_no_kill_leaves_anything_that_is_served_or_takes_up_room(
    bucket: Path, shards: list[ShardInfo], tmp_path: Path, processes: ProcessPoolExecutor
) -> None:
    folder, limit = tmp_path / "cache", 3 * SIZE
    killing = processes.submit(_kill, Slow(bucket), folder, limit, shards, 20)
    assert killing.result(timeout=120) >= 5
    cache = NodeCache(folder, limit)
    for shard in shards:
        path = cache.fetch(Remote(bucket), shard)
        assert path is not None
        assert is_right(path)
    assert not list(folder.glob("*.part"))
    assert len(held(folder)) == 3


def _use(root: Path, folder: Path, limit: int, in_use: int, shards: list[ShardInfo]) -> int:
    """Fetch all shards in random orders for a while: how many could be had."""
    cache, had = NodeCache(folder, limit, in_use), 0
    for _ in range(6):
        for shard in random.sample(shards, len(shards)):
            path = cache.fetch(Slow(root), shard)
            try:
                assert path is None or is_right(path)
                had += path is not None
            except FileNotFoundError:  # evicted by the other job before it was opened
                had += 1
    return had


def test_jobs_with_different_limits_share_a_folder(
    bucket: Path, shards: list[ShardInfo], tmp_path: Path, processes: ProcessPoolExecutor
) -> None:
    folder = tmp_path / "cache"
    jobs = [processes.submit(_use, bucket, folder, limit * SIZE, SIZE, shards) for limit in (2, 5)]
    cache, most, on_disk = NodeCache(folder, 5 * SIZE), 0, 0
    while not all(job.done() for job in jobs):
        with cache._files.locked("room"):
            files = [*held(folder), *folder.glob("*.part")]
            on_disk = max(on_disk, sum(path.stat().st_size for path in files if path.exists()))
        most = max(most, cache.used_bytes())
    assert all(job.result() > 0 for job in jobs)
    assert 0 < on_disk <= 5 * SIZE
    assert 0 < most <= 5 * SIZE


def test_those_who_wait_for_a_download_share_its_failure(
    bucket: Path, shards: list[ShardInfo], tmp_path: Path
) -> None:
    begun, calls = threading.Event(), []

    @dataclass(frozen=True)
    class Broken(Remote):
        def download(self, name: str, to: Path) -> None:
            calls.append(name)
            begun.set()
            time.sleep(0.3)
            raise TransientStorageError("the server is gone")

    cache = NodeCache(tmp_path / "cache", 10 * SIZE)
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(cache.fetch, Broken(bucket), shards[0])
        assert begun.wait(30)
        others = [pool.submit(cache.fetch, Broken(bucket), shards[0]) for _ in range(2)]
        for call in (first, *others):
            with pytest.raises(TransientStorageError, match=r"^the server is gone$"):
                call.result(timeout=30)
    assert len(calls) == 1
    # Who comes later tries for himself.
    assert cache.fetch(Remote(bucket), shards[0]) is not None


def test_a_file_that_went_bad_is_forgotten_and_a_good_one_kept(
    bucket: Path, shards: list[ShardInfo], tmp_path: Path
) -> None:
    cache = NodeCache(tmp_path / "cache", 10 * SIZE)
    path = cache.fetch(Remote(bucket), shards[0])
    assert path is not None
    assert cache.is_whole(shards[0])
    path.write_bytes(path.read_bytes()[:-1] + b"?")
    assert not cache.is_whole(shards[0])
    assert not path.exists()
    assert not cache.is_whole(shards[0])


def test_files_of_others_in_the_folder_are_left_alone(
    bucket: Path, shards: list[ShardInfo], tmp_path: Path
) -> None:
    theirs = ["my-only-backup.tar", "x.part", ".a.b.c.part", f"{'0' * 63}.tar"]
    for name in theirs:
        (tmp_path / name).write_bytes(bytes(SIZE))
    cache = NodeCache(tmp_path, 2 * SIZE)
    for shard in shards:
        assert cache.fetch(Remote(bucket), shard) is not None
    assert cache.used_bytes() == 2 * SIZE
    assert all((tmp_path / name).exists() for name in theirs)
