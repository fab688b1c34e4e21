"""Reads the stored image bytes of single samples, by row, and checks every one.

From a local folder a sample is read in place. From S3 it comes out of the node's shard cache
(`data.read = "shards"`), or by a ranged request of its own: with `data.read = "ranges"`, where
the cache is too small for the shards that one window of the plan mixes (then every read would
throw out a shard that the next read wants), where the disk is full, and out of a shard that is
damaged where it is stored, since most of its samples are not.
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

from retdm.config import DataSettings
from retdm.data.cache import NodeCache
from retdm.data.cache_folder import default_folder
from retdm.data.manifest import ShardInfo
from retdm.data.split import SplitData
from retdm.data.verified import ATTEMPTS
from retdm.errors import (
    BadSampleError,
    NotFoundError,
    ShardError,
    ShortFileError,
    StorageError,
    TransientStorageError,
)
from retdm.storage.file import FileStore

_log = logging.getLogger(__name__)
_REQUESTS = 16
_ARRIVALS = 8
"""How often a sample is read that arrives damaged: if every twentieth does, one in 10^10 fails."""


class SampleReader:
    """The images of one split; can be pickled into loader processes.

    Args:
        data: The split.
        settings: `data.read`, `data.cache_dir`, `data.cache_bytes` and `data.read_ahead`.
        window: Shards that are read at the same time, as the order mixes them.
    """

    def __init__(self, data: SplitData, settings: DataSettings, *, window: int) -> None:
        self.store = data.store
        self.shards = data.info.shards
        self.keys = data.table.keys
        self._numbers = data.shard_numbers
        self._offsets, self._sizes = data.table.offsets, data.table.sizes
        self._digests = data.table.digests
        self.cache = None if isinstance(data.store, FileStore) else _cache(data, settings, window)
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Threads stay behind; the other process makes its own."""
        return {**self.__dict__, "_pool": None}

    def shard_of(self, row: int) -> ShardInfo:
        """The shard that holds a sample."""
        return self.shards[int(self._numbers[row])]

    def where(self, row: int) -> str:
        """Shard and key of a sample, for messages."""
        return f"{self.store.url}/{self.shard_of(row).name}: sample {self.keys[row]!r}"

    def read(self, row: int) -> bytes:
        """The stored bytes of one image.

        Raises:
            BadSampleError: If the bytes that are stored differ from the label table's digest.
            ShardError: If the shard is missing.
            StorageError: If they cannot be read, or arrive damaged again and again.
        """
        (content,) = self.read_many([row])
        return content

    def read_many(self, rows: Sequence[int]) -> list[bytes]:
        """As `read` for several."""
        contents = []
        for content in self.read_each(rows):
            if isinstance(content, BadSampleError):
                raise content
            contents.append(content)
        return contents

    def read_each(self, rows: Sequence[int]) -> list[bytes | BadSampleError]:
        """As `read_many`, with the error in the place of every image that has one.

        Images that are not in the cache, and cannot get there, are asked for at the same time.
        """
        if isinstance(self.store, FileStore):
            return [self._from_store(row) for row in rows]
        contents: list[bytes | BadSampleError | None] = [self._from_cache(row) for row in rows]
        missing = [row for row, content in zip(rows, contents, strict=True) if content is None]
        if missing and self._pool is None:
            self._pool = ThreadPoolExecutor(_REQUESTS, thread_name_prefix="retdm-read")
        fetched = self._pool.map(self._from_store, missing) if self._pool else iter(())
        return [next(fetched) if content is None else content for content in contents]

    def _from_cache(self, row: int) -> bytes | None:
        """The image out of the node's copy of its shard; None if there can be no such copy."""
        if self.cache is None:
            return None
        shard, offset, size = self._place(row)
        for _ in range(ATTEMPTS):
            path = self.cache.fetch(self.store, shard)
            if path is None:
                return None
            # None if another process has evicted the file between the two lines.
            content = _read_part(path, offset, size)
            if content is not None:
                if sha256(content).digest() == self._digests[row].tobytes():
                    return content
                if self.cache.is_whole(shard):  # then the table does not fit the shard
                    return None
        return None

    def _from_store(self, row: int) -> bytes | BadSampleError:
        """The image by a request of its own, made again while what arrives is damaged."""
        wanted = self._digests[row].tobytes()
        wrong: set[bytes] = set()
        while len(wrong) < _ARRIVALS:
            content = self._range(row)
            if isinstance(content, BadSampleError):
                return content
            found = sha256(content).digest()
            if found == wanted:
                return content
            if found in wrong:
                return BadSampleError(
                    f"{self.where(row)}: sha256 of the image is {found.hex()}, the label table "
                    f"says {wanted.hex()}; the shard was changed after it was built: run "
                    f"`python -m retdm.shard verify {self.store.url}`, then upload or build it "
                    "again"
                )
            wrong.add(found)
            _log.info("%s: arrived damaged (sha256 %s)", self.where(row), found.hex())
        # Not a bad sample: the next one would fare no better.
        raise TransientStorageError(
            f"{self.where(row)}: arrived damaged {len(wrong)} times, each time differently; check "
            f"the network, and any proxy between here and {self.store.url}"
        )

    def _range(self, row: int) -> bytes | BadSampleError:
        shard, offset, size = self._place(row)
        try:
            return self.store.read_range(shard.name, offset, size)
        except NotFoundError as error:
            raise ShardError(
                f"{self.where(row)}: the shard is missing, though the manifest lists it; upload "
                "it again or rebuild the shard set"
            ) from error
        except ShortFileError:
            return BadSampleError(
                f"{self.where(row)}: the shard was cut off before the image's end; upload or "
                "build it again"
            )
        except StorageError as error:
            raise type(error)(f"{error} (reading sample {self.keys[row]!r})") from error

    def _place(self, row: int) -> tuple[ShardInfo, int, int]:
        """Shard of a sample, and offset and size of its image."""
        return self.shard_of(row), int(self._offsets[row]), int(self._sizes[row])


def _read_part(path: Path, offset: int, size: int) -> bytes | None:
    """Bytes of a cached file, possibly too few if it was damaged; None if it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
        try:
            return os.pread(handle, size, offset)
        finally:
            os.close(handle)
    except FileNotFoundError:
        return None
    except OSError:  # a failing disk: as good as damaged
        return b""


def _cache(data: SplitData, settings: DataSettings, window: int) -> NodeCache | None:
    """The node's cache if it can hold all that is read at the same time."""
    if settings.read == "ranges":
        return None
    largest = sorted((shard.bytes for shard in data.info.shards), reverse=True)
    # Twice, because batches of two windows are in progress where one ends and the next begins.
    needed = sum(largest[: 2 * window + settings.read_ahead])
    if needed > settings.cache_bytes:
        _log.warning(
            "%s, split %s: data.cache_bytes is %d, but %d bytes of shards are read at the same "
            "time, so single samples are read instead; raise it, or lower data.shuffle_window",
            data.url,
            data.split,
            settings.cache_bytes,
            needed,
        )
        return None
    folder = Path(settings.cache_dir).expanduser() if settings.cache_dir else default_folder()
    return NodeCache(folder.absolute(), settings.cache_bytes, needed)
