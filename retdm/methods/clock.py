"""Where the time of a worker goes: every moment counts for exactly one part.

Time is the host's. On a GPU, work is only begun where the host stands, and waited for where the
step first looks at a number, which is behind the backward pass: `forward`, `gather`, `mining` and
`optimizer` are then little more than the time to begin them, and `backward` holds the rest. The
split on the GPU itself is what `jobs/train.py --profile` is for. Nothing here waits for a GPU.
"""

import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Literal, get_args

from torch.profiler import record_function

Part = Literal[
    "data",  # waiting for a batch
    "forward",  # with the losses, but without the next two
    "gather",  # of embeddings over workers, and waiting for the others there
    "mining",  # seeking neighbours
    "backward",
    "exchange",  # of gradients over workers, as far as backward does not hide it; an estimate
    "optimizer",  # with what is written to the bank
    "fit",  # of a method without steps
    "evaluation",  # scoring validation or test photos
    "checkpoint",  # making one, as far as training waits for it
    "other",
]
PARTS: tuple[Part, ...] = get_args(Part)


class Clock:
    """Seconds by part, those inside another part only once.

    Another thread may read while the worker's own thread turns from part to part: what it reads
    is whole, each moment once.

    Example:
        >>> clock = Clock()
        >>> with clock.part("forward"), clock.part("gather"):
        ...     pass
        >>> clock.seconds()["gather"] > 0
        True
    """

    def __init__(self, earlier: Mapping[str, float] | None = None) -> None:
        """Start with "other".

        Args:
            earlier: Seconds to count on from.
        """
        self.named = False
        """Whether parts are to have names in the trace of a profiler, which costs time."""
        spent = {part: (earlier or {}).get(part, 0.0) for part in PARTS}
        self._whole = spent.copy()
        self._state: tuple[Part, float, dict[Part, float]] = ("other", time.perf_counter(), spent)
        """The present part, since when, and what all have got until then.

        It is replaced as a whole, so that who reads it meanwhile finds all of it old or new.
        """

    @contextmanager
    def part(self, part: Part) -> Iterator[None]:
        """Count for `part` until the block ends, then for what was before."""
        outer = self._state[0]
        self._turn(part)
        try:
            if self.named:
                with record_function(part):
                    yield
            else:
                yield
        finally:
            self._turn(outer)

    def split(self, part: Part, into: Part, share: float) -> None:
        """Count a share of what `part` has got since the last call for another part instead."""
        present, since, spent = self._state
        spent = spent.copy()
        moved = share * (spent[part] - self._whole[part])
        spent[part] -= moved
        spent[into] += moved
        self._whole[part] = spent[part]
        self._state = present, since, spent

    def _turn(self, part: Part) -> None:
        before, since, spent = self._state
        now, spent = time.perf_counter(), spent.copy()
        spent[before] += now - since
        self._state = part, now, spent

    def seconds(self) -> dict[Part, float]:
        """Of each part so far, with what the present one has taken until now."""
        part, since, spent = self._state
        spent = spent.copy()
        spent[part] += time.perf_counter() - since
        return spent
