"""What this process has got, moved and repeated since it began, counted for whoever watches it.

The places that do the work add to `COUNTS`, from any thread. A loader process sends its counts
along with each batch (`take`), and the training process adds them to its own (`merge`).
"""

import threading
from collections.abc import Mapping
from typing import Literal

Counted = Literal[
    "s3_read_bytes",
    "s3_written_bytes",
    "s3_retries",
    "cache_hits",
    "cache_misses",
    "training_images",
    "evaluation_images",
]


class Counts:
    """Sums by name; a name that nothing was added to counts 0."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._sums: dict[Counted, int] = {}

    def add(self, what: Counted, number: int = 1) -> None:
        """Count `number` more."""
        self.merge({what: number})

    def merge(self, sums: Mapping[Counted, int]) -> None:
        """Count what another process has taken."""
        with self._lock:
            for what, number in sums.items():
                self._sums[what] = self._sums.get(what, 0) + number

    def take(self) -> dict[Counted, int]:
        """All sums, which begin anew at 0."""
        with self._lock:
            sums, self._sums = self._sums, {}
        return sums

    def of(self, what: Counted) -> int:
        """The sum so far."""
        return self._sums.get(what, 0)


COUNTS = Counts()
"""Those of this process."""
