import queue
from types import SimpleNamespace
from typing import Any

import pytest

from retdm.data.ahead import ReadAhead
from retdm.errors import StorageError

# First batch and shard, as the plan lists them.
COMING = ((0, "C"), (0, "A"), (1, "E"), (2, "F"), (4, "B"), (4, "D"))


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
    reader: Any = SimpleNamespace(cache=cache, shards="ABCDEF", store=None)
    coming = ((batch, "ABCDEF".index(shard)) for batch, shard in COMING)
    return ReadAhead(reader, coming, ahead=ahead)


def test_shards_are_fetched_in_order_of_first_use_and_not_too_far_ahead() -> None:
    cache = Cache()
    reading = ahead_of(cache)
    assert cache.take(2) == ["C", "A"]
    reading.reached(0)  # C and A in use
    assert cache.take(2) == ["E", "F"]
    reading.reached(0)
    reading.reached(1)  # E too
    assert cache.take(1) == ["B"]
    reading.reached(3)  # and F
    assert cache.take(1) == ["D"]
    reading.close()
    assert cache.fetched.empty()


def test_all_shards_are_fetched_in_the_end() -> None:
    cache = Cache()
    reading = ahead_of(cache)
    reading.reached(4)
    assert cache.take(6) == list("CAEFBD")
    reading.close()
    assert cache.fetched.empty()


def test_a_failed_fetch_is_logged_and_passed_over(caplog: pytest.LogCaptureFixture) -> None:
    cache = Cache(failing="A")
    reading = ahead_of(cache)
    reading.reached(4)
    assert cache.take(6) == list("CAEFBD")
    reading.close()
    assert "reading ahead: gone for now" in caplog.text


@pytest.mark.parametrize("cache, ahead", [(None, 2), (Cache(), 0)])
def test_without_cache_or_look_ahead_nothing_runs(cache: Cache | None, ahead: int) -> None:
    reading = ahead_of(cache, ahead=ahead)
    reading.reached(4)
    reading.close()
    assert cache is None or cache.fetched.empty()
