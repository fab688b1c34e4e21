import hashlib
import multiprocessing
import os
import random
import re
import signal
import stat
import tempfile
import threading
from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from retdm.data.cache import NodeCache
from retdm.data.cache_folder import default_folder
from retdm.data.manifest import ShardInfo
from retdm.errors import StorageError
from retdm.storage.file import FileStore

SIZE = 100_000


@dataclass(frozen=True)
class Remote(FileStore):
    """A folder that plays the bucket, and writes down each download."""

    log: Path = field(default=Path(os.devnull))

    def download(self, name: str, to: Path) -> None:
        with self.log.open("a") as log:
            log.write(f"{name}\n")
        super().download(name, to)

    def downloads(self) -> list[str]:
        return self.log.read_text().split() if self.log.exists() else []


@pytest.fixture
def remote(tmp_path: Path) -> Remote:
    (tmp_path / "bucket").mkdir()
    return Remote(tmp_path / "bucket", log=tmp_path / "log")


def put(remote: Remote, number: int, *, size: int = SIZE) -> ShardInfo:
    content = random.Random(number).randbytes(size)
    name = f"{number:06d}.tar"
    remote.write(name, content)
    digest = hashlib.sha256(content).hexdigest()
    return ShardInfo(name=name, samples=1, bytes=size, sha256=digest, index_sha256="")


def right(path: Path | None, shard: ShardInfo) -> bool:
    return path is not None and hashlib.sha256(path.read_bytes()).hexdigest() == shard.sha256


def left_behind(cache: NodeCache) -> list[str]:
    return sorted(p.name for p in cache.folder.iterdir() if p.name != "locks")


def test_a_shard_is_downloaded_once(remote: Remote, tmp_path: Path) -> None:
    cache, shard = NodeCache(tmp_path / "cache", 10 * SIZE), put(remote, 0)
    assert right(cache.fetch(remote, shard), shard)
    assert right(cache.fetch(remote, shard), shard)
    assert remote.downloads() == [shard.name]
    assert cache.used_bytes() == SIZE


def test_the_longest_unused_shard_makes_room(remote: Remote, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", 2 * SIZE + SIZE // 2)
    shards = [put(remote, n) for n in range(3)]
    for number in (0, 1, 0, 2):  # 1 is now the longest unused
        assert right(cache.fetch(remote, shards[number]), shards[number])
        assert cache.used_bytes() <= cache.limit_bytes
    assert left_behind(cache) == sorted(f"{shards[n].sha256}.tar" for n in (0, 2))


def test_a_shard_beyond_the_limit_is_not_fetched(remote: Remote, tmp_path: Path) -> None:
    cache = NodeCache(tmp_path / "cache", SIZE - 1)
    assert cache.fetch(remote, put(remote, 0)) is None
    assert remote.downloads() == []


def test_downloads_in_progress_count_towards_the_limit(remote: Remote, tmp_path: Path) -> None:
    begun, go_on = threading.Event(), threading.Event()

    @dataclass(frozen=True)
    class Slow(Remote):
        def download(self, name: str, to: Path) -> None:
            begun.set()
            assert go_on.wait(30)
            super().download(name, to)

    slow = Slow(remote.root, log=remote.log)
    cache = NodeCache(tmp_path / "cache", SIZE)
    first, second = put(remote, 0), put(remote, 1)
    with ThreadPoolExecutor(1) as pool:
        fetching = pool.submit(cache.fetch, slow, first)
        assert begun.wait(30)
        assert cache.used_bytes() == SIZE
        assert cache.fetch(remote, second) is None
        assert cache.fetch(remote, first, wait=False) is None
        go_on.set()
        assert right(fetching.result(), first)
    assert right(cache.fetch(remote, second), second)
    assert remote.downloads() == [first.name, second.name]


def test_a_damaged_arrival_is_fetched_again(remote: Remote, tmp_path: Path) -> None:
    @dataclass(frozen=True)
    class Flaky(Remote):
        def download(self, name: str, to: Path) -> None:
            super().download(name, to)
            if len(self.downloads()) == 1:
                to.write_bytes(bytes(SIZE))

    shard = put(remote, 0)
    flaky = Flaky(remote.root, log=remote.log)
    assert right(NodeCache(tmp_path / "cache", SIZE).fetch(flaky, shard), shard)
    assert len(remote.downloads()) == 2


def test_a_shard_that_differs_from_the_manifest_is_not_kept_and_not_fetched_for_ever(
    remote: Remote, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    cache, shard = NodeCache(tmp_path / "cache", SIZE), put(remote, 0)
    remote.write(shard.name, bytes(SIZE))
    assert cache.fetch(remote, shard) is None
    assert cache.fetch(remote, shard) is None
    found = hashlib.sha256(bytes(SIZE)).hexdigest()
    assert re.search(
        rf"bucket/000000\.tar: sha256 is {found}, the manifest says {shard.sha256} "
        r"\(fetched 2 times\); run `python -m retdm\.shard verify .*bucket`, then upload or build "
        r"it again; its samples are read one by one",
        caplog.text,
    )
    assert len(remote.downloads()) == 2
    assert left_behind(cache) == []


@pytest.mark.parametrize("content, found", [(bytes(7), "7 bytes"), (None, "missing")])
def test_a_shard_of_another_size_is_not_even_fetched(
    remote: Remote,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    content: bytes | None,
    found: str,
) -> None:
    cache, shard = NodeCache(tmp_path / "cache", SIZE), put(remote, 0)
    remote.delete(shard.name) if content is None else remote.write(shard.name, content)
    assert cache.fetch(remote, shard) is None
    assert f"000000.tar: {found}, the manifest says 100000 bytes" in caplog.text
    assert left_behind(cache) == []
    assert remote.downloads() == []


def test_an_unusable_folder_is_named(remote: Remote, tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(
        StorageError, match=r"file/x: cannot keep shards here .*set data.cache_dir"
    ):
        NodeCache(tmp_path / "file/x", SIZE).fetch(remote, put(remote, 0))


def test_only_the_owner_may_enter(remote: Remote, tmp_path: Path) -> None:
    folder = tmp_path / "above/cache"
    NodeCache(folder, SIZE).fetch(remote, put(remote, 0))
    assert [stat.S_IMODE(f.stat().st_mode) for f in (folder, folder / "locks")] == [0o700] * 2


def test_the_default_folder_is_ones_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    folder = default_folder()
    assert folder == default_folder() == tmp_path / f"retdm-cache-{os.getuid()}"
    assert stat.S_IMODE(folder.stat().st_mode) == 0o700


def test_a_default_folder_of_another_user_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "gettempdir", lambda: str(tmp_path))
    owner = os.getuid()
    monkeypatch.setattr(os, "getuid", lambda: 4711)
    (tmp_path / "retdm-cache-4711").mkdir()
    with pytest.raises(
        StorageError, match=rf"cannot keep .*\(it belongs to user {owner}\); set data\.cache_dir"
    ):
        default_folder()


def _fetch_all(
    remote: Remote, folder: Path, limit: int, shards: list[ShardInfo], seed: int
) -> tuple[bool, int]:
    """Fetch all shards twice in an order of one's own: (all right, most bytes seen)."""
    cache, most, good = NodeCache(folder, limit), 0, True
    for _ in range(2):
        for shard in random.Random(seed).sample(shards, len(shards)):
            path = cache.fetch(remote, shard)
            try:
                good &= path is None or right(path, shard)
            except FileNotFoundError:  # evicted by another process before it was opened
                assert limit < SIZE * len(shards)
            most = max(most, cache.used_bytes())
    return good, most


@pytest.fixture(scope="module")
def processes() -> Iterator[ProcessPoolExecutor]:
    with ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        yield pool


@pytest.mark.parametrize("room", [6, 3])
def test_processes_share_one_download_and_hold_the_limit(
    remote: Remote, tmp_path: Path, processes: ProcessPoolExecutor, room: int
) -> None:
    shards = [put(remote, n) for n in range(6)]
    calls = [
        processes.submit(_fetch_all, remote, tmp_path / "cache", room * SIZE, shards, seed)
        for seed in range(3)
    ]
    for call in calls:
        good, most = call.result(timeout=120)
        assert good
        assert most <= room * SIZE
    if room == 6:
        assert sorted(remote.downloads()) == [shard.name for shard in shards]


@dataclass(frozen=True)
class Endless(Remote):
    def download(self, name: str, to: Path) -> None:
        to.write_bytes(bytes(10))
        super().download(name, Path(os.devnull))
        threading.Event().wait()


def _fetch(remote: Remote, folder: Path, limit: int, shard: ShardInfo) -> None:
    NodeCache(folder, limit).fetch(remote, shard)


def test_what_a_killed_process_left_does_not_take_up_room(remote: Remote, tmp_path: Path) -> None:
    cache, first, second = NodeCache(tmp_path / "cache", SIZE), put(remote, 0), put(remote, 1)
    endless = Endless(remote.root, log=remote.log)
    for shard, wanted in ((first, second), (second, second)):
        process = multiprocessing.get_context("spawn").Process(
            target=_fetch, args=(endless, cache.folder, SIZE, shard)
        )
        process.start()
        before = len(remote.downloads())
        for _ in range(3000):
            if len(remote.downloads()) > before:
                break
            process.join(0.02)
        assert cache.fetch(remote, wanted, wait=False) is None
        assert process.pid is not None
        os.kill(process.pid, signal.SIGKILL)
        process.join()
        assert right(cache.fetch(remote, wanted), wanted)
        assert left_behind(cache) == [f"{wanted.sha256}.tar"]
        (cache.folder / f"{wanted.sha256}.tar").unlink()
