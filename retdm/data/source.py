"""Reads the stored image bytes of single samples, by row, and checks every one.

From a local folder a sample is read in place. From S3 it comes out of the node's shard cache
(`data.read = "shards"`), or by a ranged request of its own (`data.read = "ranges"`, and where
the cache is too small for the shards that one window of the plan mixes: then every read would
throw out a shard that the next read wants).
"""

import logging
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from hashlib import sha256
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retdm.config import DataSettings
from retdm.data.cache import NodeCache, default_folder
from retdm.data.order import Rows
from retdm.data.split import SplitData
from retdm.errors import BadSampleError, NotFoundError, ShardError, StorageError
from retdm.storage.file import FileStore

_log = logging.getLogger(__name__)
_REQUESTS = 16


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
        self._locations = data.locations
        self._digests = data.table.digests
        self.cache = None if isinstance(data.store, FileStore) else _cache(data, settings, window)
        self._pool: ThreadPoolExecutor | None = None

    def __getstate__(self) -> dict[str, Any]:
        """Threads stay behind; the other process makes its own."""
        return {**self.__dict__, "_pool": None}

    def shard_of(self, rows: Rows) -> npt.NDArray[np.int32]:
        """Shard number of each row."""
        return self._locations.shard[rows]

    def where(self, row: int) -> str:
        """Shard and key of a sample, for messages."""
        shard = self.shards[self._locations.shard[row]]
        return f"{self.store.url}/{shard.name}: sample {self.keys[row]!r}"

    def read(self, row: int) -> bytes:
        """The stored bytes of one image.

        Raises:
            BadSampleError: If they differ from the label table's digest, also when read again.
            StorageError: If they cannot be read.
        """
        wanted = self._digests[row].tobytes()
        content = self._fetch(row)
        if sha256(content).digest() != wanted:
            if self.cache is not None:
                self.cache.discard(self.shards[self._locations.shard[row]])
            content = self._fetch(row)
        found = sha256(content)
        if found.digest() != wanted:
            raise BadSampleError(
                f"{self.where(row)}: sha256 of the image is {found.hexdigest()}, the label table "
                f"says {wanted.hex()}; the shard was changed after it was built: run "
                f"`python -m retdm.shard verify {self.store.url}`, then upload or build it again"
            )
        return content

    def read_many(self, rows: Sequence[int]) -> list[bytes]:
        """The same for several, with requests at once where each is a request to a server."""
        contents = []
        for content in self.read_each(rows):
            if isinstance(content, BadSampleError):
                raise content
            contents.append(content)
        return contents

    def read_each(self, rows: Sequence[int]) -> list[bytes | BadSampleError]:
        """As `read_many`, with the error in the place of every image whose bytes are wrong."""
        if self.cache is not None or isinstance(self.store, FileStore):
            return [self._attempt(row) for row in rows]
        if self._pool is None:
            self._pool = ThreadPoolExecutor(_REQUESTS, thread_name_prefix="retdm-read")
        return list(self._pool.map(self._attempt, rows))

    def _attempt(self, row: int) -> bytes | BadSampleError:
        try:
            return self.read(row)
        except BadSampleError as error:
            return error

    def _fetch(self, row: int) -> bytes:
        shard = self.shards[self._locations.shard[row]]
        offset, size = int(self._locations.offset[row]), int(self._locations.size[row])
        if self.cache is not None:
            # Another process may evict the file between the two lines: then fetch it again.
            for _ in range(3):
                path = self.cache.fetch(self.store, shard)
                if path is None:
                    break
                content = _read_part(path, offset, size)
                if content is not None:
                    return content
        try:
            return self.store.read_range(shard.name, offset, size)
        except NotFoundError as error:
            raise ShardError(
                f"{self.where(row)}: the shard is missing, though the manifest lists it; upload "
                "it again or rebuild the shard set"
            ) from error
        except StorageError as error:
            raise type(error)(f"{error} (reading sample {self.keys[row]!r})") from error


def _read_part(path: Path, offset: int, size: int) -> bytes | None:
    """Bytes of a cached file, possibly too few if it was damaged; None if it is gone."""
    try:
        handle = os.open(path, os.O_RDONLY)
    except FileNotFoundError:
        return None
    try:
        return os.pread(handle, size, offset)
    finally:
        os.close(handle)


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
    return NodeCache(folder.absolute(), settings.cache_bytes)
