"""Runs one OpenStack Swift server, and is its cache.

`python swift_node.py proxy|account|container|object CONFIG` is the program that `s3_server.py`
starts four times. Swift looks for memcached to remember accounts and buckets; a single proxy
process can do that in its own memory, which saves a service and half the time of small requests.
"""

import functools
import importlib
import sys
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Any

_MODULES = {
    "proxy": "swift.proxy.server",
    "account": "swift.account.server",
    "container": "swift.container.server",
    "object": "swift.obj.server",
}
_MOST_ENTRIES = 20_000

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]


class MemoryCache:
    """The part of Swift's memcached client that its proxy uses, kept in a dictionary.

    Method and argument names are Swift's. Values never leave the process, so they are not
    serialised. When full it forgets everything: all of it can be asked for again.
    """

    def __init__(self, clock: Callable[[], float] = time.time) -> None:
        self._entries: dict[str, tuple[Any, float]] = {}
        self._clock = clock

    def get(self, key: str, raise_on_error: bool = False) -> Any:
        """The value stored, or None if there is none or its time is over."""
        value, until = self._entries.get(key, (None, 0.0))
        if until and until < self._clock():
            del self._entries[key]
            return None
        return value

    def set(self, key: str, value: Any, time: float = 0, **unused: Any) -> None:
        """Store `value` for `time` seconds; 0: for as long as the process lives."""
        if len(self._entries) >= _MOST_ENTRIES:
            self._entries.clear()
        self._entries[key] = (value, self._clock() + time if time else 0.0)

    def delete(self, key: str, server_key: str | None = None) -> None:
        """Forget one entry, if it is there."""
        self._entries.pop(key, None)

    def incr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """Add to a counter, which does not go below 0; return its new value."""
        value = max(int(self.get(key) or 0) + int(delta), 0)
        self.set(key, value, time=time)
        return value

    def decr(self, key: str, delta: int = 1, time: float = 0) -> int:
        """Take from a counter, which does not go below 0; return its new value."""
        return self.incr(key, -delta, time)

    def set_multi(
        self, mapping: Mapping[str, Any], server_key: str, time: float = 0, **unused: Any
    ) -> None:
        """Store several values."""
        for key, value in mapping.items():
            self.set(key, value, time=time)

    def get_multi(self, keys: Iterable[str], server_key: str) -> list[Any]:
        """Several values, in the order of their keys."""
        return [self.get(key) for key in keys]


def cache_filter(global_conf: Mapping[str, str], **local_conf: str) -> Any:
    """The cache as a Paste filter, for `paste.filter_factory = swift_node:cache_filter`."""
    cache = MemoryCache()

    def wrap(application: Application) -> Application:
        def call(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
            environ["swift.cache"] = cache
            return application(environ, start_response)

        return call

    return wrap


def main() -> int:
    """Run the server named by the first argument until it is ended."""
    kind, config = sys.argv[1:]
    sys.argv = [f"swift-{kind}-server", config, "-v"]
    # Two servers started at the same moment would otherwise share a port, each getting a part
    # of the other's requests; alone, the second cannot bind and is started on another port.
    wsgi: Any = importlib.import_module("swift.common.wsgi")
    wsgi.listen = functools.partial(wsgi.listen, reuse_port=False)
    status = importlib.import_module(_MODULES[kind]).main()
    return int(status or 0)


if __name__ == "__main__":
    sys.exit(main())
