import logging
import pickle
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from retdm.config import DataSettings
from retdm.data.source import SampleReader
from retdm.data.split import SplitData, open_split
from retdm.errors import BadSampleError, ShardError
from retdm.storage.file import FileStore


class Remote:
    """A folder that plays a bucket: it is not a FileStore, so its shards are cached."""

    def __init__(self, root: Path) -> None:
        self._files = FileStore(root)
        self.url = self._files.url
        self.calls: list[str] = []

    def __getattr__(self, name: str) -> Any:
        def call(*args: Any) -> Any:
            self.calls.append(name)
            return getattr(self._files, name)(*args)

        if name.startswith("_"):
            raise AttributeError(name)
        return call


@pytest.fixture
def folder(tiny_set: str, tmp_path: Path) -> Path:
    return Path(shutil.copytree(tiny_set, tmp_path / "set"))


def reader_of(
    data: SplitData, tmp_path: Path, *, window: int = 1, remote: bool = True, **settings: Any
) -> tuple[SampleReader, Remote]:
    store = Remote(Path(data.url))
    if remote:
        data = replace(data, store=store)
    settings = {"cache_dir": str(tmp_path / "cache"), "read_ahead": 1, **settings}
    return SampleReader(data, DataSettings(**settings), window=window), store


@pytest.mark.parametrize(
    "remote, settings, calls",
    [
        (False, {}, set()),
        (True, {}, {"size", "download"}),
        (True, {"read": "ranges"}, {"read_range"}),
        (True, {"cache_bytes": 0}, {"read_range"}),
    ],
)
def test_every_way_of_reading_gives_the_stored_bytes(
    folder: Path,
    tmp_path: Path,
    make_jpeg: Callable[..., bytes],
    remote: bool,
    settings: dict[str, Any],
    calls: set[str],
) -> None:
    reader, store = reader_of(
        open_split(str(folder), "train"), tmp_path, remote=remote, **settings
    )
    reader = pickle.loads(pickle.dumps(reader)) if not remote else reader
    assert reader.read_many(range(22)) == [make_jpeg(n) for n in range(22)]
    assert set(store.calls) == calls


def test_whole_shards_are_downloaded_once(folder: Path, tmp_path: Path) -> None:
    reader, store = reader_of(open_split(str(folder), "train"), tmp_path)
    for row in [*range(22), *range(22)]:
        reader.read(row)
    assert store.calls.count("download") == 5  # one of the six shards has no samples


def test_a_cache_that_cannot_hold_a_window_is_not_used(
    folder: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    data = open_split(str(folder), "train")
    largest = sum(sorted(shard.bytes for shard in data.info.shards)[-3:])
    reader, _ = reader_of(data, tmp_path, cache_bytes=largest)
    assert reader.cache is not None
    with caplog.at_level(logging.WARNING):
        reader, _ = reader_of(data, tmp_path, cache_bytes=largest - 1)
    assert reader.cache is None
    assert "single samples are read instead; raise it, or lower data.shuffle_wind" in caplog.text


@pytest.mark.parametrize("settings", [{}, {"read": "ranges"}])
@pytest.mark.parametrize("remote", [False, True])
def test_a_changed_shard_costs_the_changed_sample_only(
    folder: Path,
    tmp_path: Path,
    make_jpeg: Callable[..., bytes],
    remote: bool,
    settings: dict[str, Any],
) -> None:
    data = open_split(str(folder), "train")
    tar = folder / "train/000002.tar"
    content = bytearray(tar.read_bytes())
    content[data.table.offsets[8] + 30] ^= 1
    tar.write_bytes(content)
    reader, _ = reader_of(data, tmp_path, remote=remote, **settings)
    message = (
        r"000002\.tar: sample 'photo-008': sha256 of the image is [0-9a-f]{64}, the label table "
        r"says [0-9a-f]{64}.*verify"
    )
    with pytest.raises(BadSampleError, match=message):
        reader.read(8)
    # In the same shard, not touched.
    assert reader.read_many([6, 7]) == [make_jpeg(6), make_jpeg(7)]
    first, bad, last = reader.read_each([0, 8, 9])
    assert (first, last) == (make_jpeg(0), make_jpeg(9))
    assert isinstance(bad, BadSampleError)


@pytest.mark.parametrize("remote", [False, True])
def test_a_shard_that_was_cut_off_costs_only_the_samples_behind_the_cut(
    folder: Path, tmp_path: Path, make_jpeg: Callable[..., bytes], remote: bool
) -> None:
    data = open_split(str(folder), "train")
    tar = folder / "train/000002.tar"
    tar.write_bytes(tar.read_bytes()[: data.table.offsets[9] + 30])
    reader, _ = reader_of(data, tmp_path, remote=remote)
    good, bad = reader.read_each([8, 9])
    assert good == make_jpeg(8)
    assert re.search(
        r"000002\.tar: sample 'photo-009': the shard was cut off before the image's end; upload "
        "or build it again$",
        str(bad),
    )


def test_a_table_that_does_not_fit_a_sound_shard_is_no_reason_to_fetch_it_again(
    folder: Path, tmp_path: Path
) -> None:
    data = open_split(str(folder), "train")
    digests = data.table.digests.copy()
    digests[8] ^= 1
    data = replace(data, table=replace(data.table, digests=digests))
    reader, store = reader_of(data, tmp_path)
    for _ in range(2):
        with pytest.raises(BadSampleError, match=r"sample 'photo-008': sha256 of the image is"):
            reader.read(8)
    assert store.calls.count("download") == 1


def test_a_cached_file_that_went_bad_is_fetched_again(
    folder: Path, tmp_path: Path, make_jpeg: Callable[..., bytes]
) -> None:
    reader, store = reader_of(open_split(str(folder), "train"), tmp_path)
    reader.read(0)
    (cached,) = (tmp_path / "cache").glob("*.tar")
    for damaged in (b"", bytes(cached.stat().st_size)):
        cached.write_bytes(damaged)
        assert reader.read(3) == make_jpeg(3)
    assert store.calls.count("download") == 3


@pytest.mark.parametrize("settings", [{}, {"read": "ranges"}])
def test_a_missing_shard_is_named(folder: Path, tmp_path: Path, settings: dict[str, Any]) -> None:
    reader, _ = reader_of(open_split(str(folder), "train"), tmp_path, **settings)
    (folder / "train/000001.tar").unlink()
    with pytest.raises(ShardError, match=r"000001\.tar: .*missing"):
        reader.read(5)
