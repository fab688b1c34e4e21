"""What holds for every storage backend alike."""

import pickle
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from retdm.errors import NotFoundError, StorageError
from retdm.storage import Store, open_store


@pytest.fixture(params=["file", pytest.param("s3", marks=pytest.mark.cluster)])
def store(request: pytest.FixtureRequest, tmp_path: Path) -> Store:
    if request.param == "file":
        return open_store(str(tmp_path / "root"))
    url: Any = request.getfixturevalue("s3").url
    return open_store(url("store"))


def test_what_is_written_is_read_back(store: Store) -> None:
    store.write("train/a.bin", b"0123456789")
    assert store.read("train/a.bin") == b"0123456789"
    assert store.read_range("train/a.bin", 3, 4) == b"3456"
    assert store.read_range("train/a.bin", 3, 0) == b""
    assert store.size("train/a.bin") == 10


def test_a_file_is_replaced_and_deleted(store: Store) -> None:
    store.write("a", b"old")
    store.write("a", b"")
    assert store.read("a") == b""
    store.delete("a")
    store.delete("a")
    assert store.size("a") is None


def test_a_local_file_is_sent_and_fetched_whole(store: Store, tmp_path: Path) -> None:
    # More than one part of a multipart upload.
    content = bytes(range(256)) * (20 << 12)
    source = tmp_path / "source"
    source.write_bytes(content)
    store.write("big", source)
    store.download("big", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == content
    assert store.size("big") == len(content)


def test_names_are_sorted_and_relative_to_the_root(store: Store) -> None:
    assert store.names() == []
    for name in ("train/1", "train/0", "test/0", "train-extra"):
        store.write(name, b"x")
    assert store.names() == ["test/0", "train-extra", "train/0", "train/1"]
    assert store.names("train/") == ["train/0", "train/1"]
    assert store.names("tr") == ["train-extra", "train/0", "train/1"]


def test_an_absent_file_is_named(store: Store, tmp_path: Path) -> None:
    store.write("there", b"x")
    for attempt in (
        lambda: store.read("gone"),
        lambda: store.read_range("gone", 0, 1),
        lambda: store.download("gone", tmp_path / "to"),
    ):
        with pytest.raises(NotFoundError, match=r"/gone: no such (file|object); check the"):
            attempt()


@pytest.mark.parametrize("start", [6, 60])
def test_a_range_beyond_the_end_is_an_error(store: Store, start: int) -> None:
    store.write("short", b"01234567")
    with pytest.raises(StorageError, match=r"shorter than its index says"):
        store.read_range("short", start, 5)


@pytest.mark.parametrize("name", ["", "/etc/passwd", "../up", "a/../../b", "nul\0"])
def test_names_cannot_leave_the_root(store: Store, name: str) -> None:
    with pytest.raises(StorageError, match="is not a name below this root"):
        store.read(name)
    with pytest.raises(StorageError, match="is not a name below this root"):
        store.write(name, b"")


def test_a_store_can_be_pickled(store: Store) -> None:
    store.write("a", b"x")
    assert pickle.loads(pickle.dumps(store)).read("a") == b"x"


def test_readers_never_see_a_part_of_a_file(store: Store) -> None:
    versions = [bytes([n]) * 300_000 for n in range(4)]
    store.write("file", versions[0])
    stop = threading.Event()

    def write() -> None:
        for version in versions * 3:
            store.write("file", version)
        stop.set()

    def read() -> set[bytes]:
        seen = set()
        while not stop.is_set():
            seen.add(store.read("file"))
        return seen

    with ThreadPoolExecutor(3) as pool:
        readers = [pool.submit(read) for _ in range(2)]
        pool.submit(write).result()
        assert readers[0].result() | readers[1].result() <= set(versions)
