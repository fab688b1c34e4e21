"""Fetches shards into the node cache shortly before the order reaches them."""

import logging
import threading
from collections import deque
from collections.abc import Iterator

from retdm.data.source import SampleReader
from retdm.errors import RetdmError

_log = logging.getLogger(__name__)


class ReadAhead:
    """A thread that keeps at most `ahead` shards in the cache that are not in use yet.

    Shards that another process is fetching are passed over. A failed fetch is only logged: the
    reader meets the same failure if it lasts, and reports it.

    Args:
        reader: Whose cache is filled; without one, nothing is done.
        coming: First batch and number of each shard to be read, in order of first use.
        ahead: Shards fetched before they are needed; 0 turns it off.
    """

    def __init__(
        self, reader: SampleReader, coming: Iterator[tuple[int, int]], *, ahead: int
    ) -> None:
        self._reader = reader
        self._coming = coming
        self._ahead = ahead
        self._unused: deque[int] = deque()
        """First batches of the shards that were fetched and are not in use yet."""
        self._reached = -1
        self._closed = False
        self._changed = threading.Condition()
        if reader.cache is not None and ahead > 0:
            threading.Thread(target=self._run, name="retdm-ahead", daemon=True).start()

    def reached(self, batch: int) -> None:
        """Say that this batch and those before it are read or being read."""
        with self._changed:
            self._reached = batch
            self._changed.notify()

    def close(self) -> None:
        """Fetch no more; a fetch that has begun, which may take long, is not waited for."""
        with self._changed:
            self._closed = True
            self._changed.notify()

    def _run(self) -> None:
        cache = self._reader.cache
        assert cache is not None
        for batch, number in self._coming:
            with self._changed:
                self._unused.append(batch)
                self._changed.wait_for(lambda: self._closed or self._may_fetch())
                if self._closed:
                    return
            try:
                cache.fetch(self._reader.store, self._reader.shards[number], wait=False)
            except RetdmError as error:
                if not self._closed:
                    _log.warning("reading ahead: %s", error)

    def _may_fetch(self) -> bool:
        while self._unused and self._unused[0] <= self._reached:
            self._unused.popleft()
        return len(self._unused) <= self._ahead
