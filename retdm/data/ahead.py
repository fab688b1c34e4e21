"""Fetches shards into the node cache shortly before the order reaches them."""

import logging
import threading

import numpy as np

from retdm.data.plan import Rows
from retdm.data.source import SampleReader
from retdm.errors import RetdmError

_log = logging.getLogger(__name__)


class ReadAhead:
    """A thread that keeps at most `ahead` shards in the cache that are not in use yet.

    Shards that another process is fetching are passed over. A failed fetch is only logged: the
    reader meets the same failure if it lasts, and reports it.

    Args:
        reader: Whose cache is filled; without one, nothing is done.
        order: Rows still to be read, in order.
        ahead: Shards fetched before they are needed; 0 turns it off.
    """

    def __init__(self, reader: SampleReader, order: Rows, *, ahead: int) -> None:
        shards, first = np.unique(reader.shard_of(order), return_index=True)
        by_use = np.argsort(first)
        self._reader = reader
        self._shards = [reader.shards[number] for number in shards[by_use]]
        self._first = first[by_use]
        self._ahead = ahead
        self._allowed = 0
        self._closed = False
        self._changed = threading.Condition()
        self._thread: threading.Thread | None = None
        if reader.cache is not None and ahead > 0 and self._shards:
            self._thread = threading.Thread(target=self._run, name="retdm-ahead", daemon=True)
            self._thread.start()

    def reached(self, rows: int) -> None:
        """Say that the first `rows` rows of the order are read or being read."""
        with self._changed:
            in_use = int(np.searchsorted(self._first, rows))
            self._allowed = min(in_use + self._ahead, len(self._shards))
            self._changed.notify()

    def close(self) -> None:
        """End the thread; a fetch that has begun is finished first."""
        with self._changed:
            self._closed = True
            self._changed.notify()
        if self._thread is not None:
            self._thread.join()

    def _run(self) -> None:
        cache = self._reader.cache
        assert cache is not None
        for number, shard in enumerate(self._shards):
            with self._changed:
                self._changed.wait_for(lambda: self._closed or number < self._allowed)  # noqa: B023
                if self._closed:
                    return
            try:
                cache.fetch(self._reader.store, shard, wait=False)
            except RetdmError as error:
                _log.warning("reading ahead: %s", error)
