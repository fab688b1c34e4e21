"""Locks whose files are removed now and then."""

import multiprocessing
import os
import time
from concurrent.futures import ProcessPoolExecutor
from contextlib import closing
from pathlib import Path

from retdm.data import cache_folder
from retdm.data.cache_folder import CacheFolder
from retdm.data.manifest import ShardInfo
from retdm.data.node_lock import NodeLock, sweep

NAME = "0" * 64


def _old(path: Path) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.touch()
    os.utime(path, (0, 0))
    return path


def test_only_free_and_old_locks_of_shards_are_swept(tmp_path: Path) -> None:
    free, held, theirs = (_old(tmp_path / name) for name in (NAME, "1" * 64, "2" * 63))
    room = _old(tmp_path / "room")
    new = tmp_path / ("3" * 64)
    new.touch()
    with closing(NodeLock(held)) as lock:
        assert lock.take(wait=True)
        assert sweep(tmp_path, unused_s=60) == 1
        assert sorted(tmp_path.iterdir()) == sorted([held, theirs, room, new])
    sweep(tmp_path, unused_s=60)
    assert not held.exists()
    assert not free.exists()


def test_a_lock_whose_file_was_removed_is_taken_on_the_new_one(tmp_path: Path) -> None:
    path = _old(tmp_path / NAME)
    with closing(NodeLock(path)) as early, closing(NodeLock(path)) as later:
        sweep(tmp_path, unused_s=60)
        assert early.take(wait=False)
        assert not later.take(wait=False)
    assert path.exists()


def test_a_download_sweeps_once_also_while_the_own_lock_is_old(tmp_path: Path) -> None:
    folder = CacheFolder(tmp_path, limit_bytes=10, in_use_bytes=0)
    shard = ShardInfo(name="x.tar", samples=1, bytes=1, sha256=NAME, index_sha256="")
    own, other = _old(tmp_path / "locks" / NAME), _old(tmp_path / "locks" / ("1" * 64))
    with folder.locked(NAME) as lock:
        assert lock is not None
        os.utime(own, (0, 0))
        assert folder.reserve(shard) is not None
        assert own.exists()
        assert not other.exists()
        _old(other)
        assert folder.reserve(shard) is not None
    assert other.exists()
    assert cache_folder._LOCK_UNUSED_S >= 3600


def _hold(folder: Path) -> int:
    """Take one lock again and again, until it was swept often; how often it was held twice."""
    shared = number = 0
    while not (folder / "enough").exists():
        number += 1
        with closing(NodeLock(folder / NAME)) as lock:
            if not lock.take(wait=number % 4 > 0):
                continue
            try:
                os.close(os.open(folder / "held", os.O_CREAT | os.O_EXCL))
            except FileExistsError:
                shared += 1
                continue
            os.sched_yield()
            os.unlink(folder / "held")
    return shared


def _sweep(folder: Path) -> None:
    """Sweep until the file was removed often, while others take the lock."""
    swept, until = 0, time.monotonic() + 60
    while swept < 100 and time.monotonic() < until:
        swept += sweep(folder, unused_s=-60)
    (folder / "enough").touch()
    assert swept > 20


def test_a_lock_that_is_swept_all_the_time_is_never_held_twice(tmp_path: Path) -> None:
    with ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        holding = [pool.submit(_hold, tmp_path) for _ in range(3)]
        pool.submit(_sweep, tmp_path).result(timeout=200)
        assert [call.result(timeout=60) for call in holding] == [0, 0, 0]
