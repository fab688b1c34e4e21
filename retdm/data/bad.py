"""Images that cannot be used: which ones, why, and how many a run puts up with."""

from collections.abc import Iterable
from dataclasses import asdict, dataclass

from retdm.errors import BadSampleError


@dataclass(frozen=True, slots=True, order=True)
class BadSample:
    """One image that cannot be decoded, or whose bytes are not those that were packed."""

    split: str
    shard: str
    key: str
    reason: str


class BadSamples:
    """The bad images that a run has met, each listed once.

    Args:
        limit: `data.max_bad_samples`.
        known: Met before, from a checkpoint.
    """

    def __init__(self, limit: int, known: Iterable[BadSample] = ()) -> None:
        self.limit = limit
        self._known = {(bad.split, bad.key): bad for bad in known}

    def __len__(self) -> int:
        return len(self._known)

    def add(self, found: Iterable[BadSample], *, url: str) -> None:
        """Note more of them, in the shard set at `url`.

        Raises:
            BadSampleError: If there are more than the limit; names the one that was too many.
        """
        for bad in found:
            if (bad.split, bad.key) in self._known:
                continue
            self._known[bad.split, bad.key] = bad
            if len(self) > self.limit:
                more = f" (this run's bad image number {len(self)})" if self.limit else ""
                raise BadSampleError(
                    f"{url}/{bad.shard}: sample {bad.key!r}: {bad.reason}; or allow for it by "
                    f"data.max_bad_samples, which is {self.limit}{more}"
                )

    def merge(self, lists: Iterable[Iterable[BadSample]], *, url: str) -> None:
        """Become the union of the lists of all ranks, this one's included; see `add`."""
        self._known.clear()
        # Sorted, so that the ranks agree on which one was too many.
        self.add(sorted({bad for found in lists for bad in found}), url=url)

    def samples(self) -> list[BadSample]:
        """All of them, sorted."""
        return sorted(self._known.values())

    def to_tables(self) -> list[dict[str, str]]:
        """All of them as plain values, sorted, for results and checkpoints."""
        return [asdict(bad) for bad in self.samples()]
