"""Swift's cache: what it keeps, and for how long."""

from swift_node import MemoryCache, cache_filter


def test_values_last_for_their_time():
    now = [100.0]
    cache = MemoryCache(clock=lambda: now[0])
    cache.set("short", 1, time=5)
    cache.set("always", 2)
    now[0] = 104.0
    assert cache.get_multi(["short", "always", "none"], "server") == [1, 2, None]
    now[0] = 106.0
    assert cache.get_multi(["short", "always"], "server") == [None, 2]


def test_counters_do_not_go_below_zero():
    cache = MemoryCache()
    assert [cache.incr("n", 3), cache.decr("n", 2), cache.decr("n", 5)] == [3, 1, 0]


def test_deleted_and_overfull_entries_are_gone():
    cache = MemoryCache()
    cache.set_multi({"a": 1, "b": 2}, "server")
    cache.delete("a")
    cache.delete("never there")
    assert cache.get_multi(["a", "b"], "server") == [None, 2]
    for number in range(20_000):
        cache.set(str(number), number)
    assert cache.get("b") is None
    assert cache.get("19999") == 19999


def test_the_filter_gives_every_request_the_same_cache():
    seen = []

    def application(environ, start_response):
        seen.append(environ["swift.cache"])
        return [b"x"]

    wrapped = cache_filter({})(application)
    assert [*wrapped({}, None), *wrapped({}, None)] == [b"x", b"x"]
    assert seen[0] is seen[1]
