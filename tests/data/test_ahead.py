import queue
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from retdm.data.ahead import ReadAhead
from retdm.errors import StorageError


class Cache:
    """Stands where the node cache does, and tells which shard is asked for."""

    def __init__(self, *, failing: str = "") -> None:
        self.fetched: queue.Queue[str] = queue.Queue()
        self._failing = failing

    def fetch(self, store: object, shard: str, *, wait: bool) -> None:
        assert not wait
        self.fetched.put(shard)
        if shard == self._failing:
            raise StorageError("gone for now")

    def take(self, count: int) -> list[str]:
        return [self.fetched.get(timeout=20) for _ in range(count)]


def ahead_of(cache: Cache | None, *, ahead: int = 2) -> ReadAhead:
    # Ten samples in each of six shards, read in order of the shards C A F B E D, but for one
    # early sample of E.
    order = np.concatenate([10 * "ABCDEF".index(s) + np.arange(10) for s in "CAFBED"])
    order[12], order[45] = order[45], order[12]
    reader: Any = SimpleNamespace(
        cache=cache, shards="ABCDEF", store=None, shard_of=lambda rows: rows // 10
    )
    return ReadAhead(reader, order, ahead=ahead)


def test_shards_are_fetched_in_order_of_first_use_and_not_too_far_ahead() -> None:
    cache = Cache()
    reading = ahead_of(cache)
    reading.reached(1)  # C in use
    assert cache.take(3) == ["C", "A", "E"]
    reading.reached(10)
    reading.reached(13)  # C, A and E
    assert cache.take(2) == ["F", "B"]
    reading.close()
    assert cache.fetched.empty()


def test_all_shards_are_fetched_in_the_end_and_the_thread_ends() -> None:
    cache = Cache()
    reading = ahead_of(cache)
    reading.reached(60)
    assert cache.take(6) == list("CAEFBD")
    reading.close()
    assert cache.fetched.empty()


def test_a_failed_fetch_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(failing="A")
    reading = ahead_of(cache)
    reading.reached(60)
    assert cache.take(6) == list("CAEFBD")
    reading.close()
    assert "reading ahead: gone for now" in caplog.text


@pytest.mark.parametrize("cache, ahead", [(None, 2), (Cache(), 0)])
def test_without_cache_or_look_ahead_nothing_runs(cache: Cache | None, ahead: int) -> None:
    reading = ahead_of(cache, ahead=ahead)
    reading.reached(60)
    reading.close()
    assert cache is None or cache.fetched.empty()
