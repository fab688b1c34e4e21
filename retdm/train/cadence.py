"""When to write a checkpoint inside an epoch."""

import time
from collections.abc import Callable

from retdm import comm
from retdm.config import CheckpointSettings


class Cadence:
    """Decides for all ranks alike, after each step."""

    def __init__(
        self,
        settings: CheckpointSettings,
        *,
        look_every: int,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Start counting time now.

        Args:
            settings: `every_steps` and `every_minutes` are used.
            look_every: Steps between looks at the clock, of which rank 0's counts.
            clock: Seconds.
        """
        self._steps, self._seconds = settings.every_steps, 60 * settings.every_minutes
        self._look_every, self._clock = look_every, clock
        self._last = clock()

    def due(self, step: int, *, busy: bool) -> bool:
        """Whether all ranks are to save now; every rank calls this after every step.

        Args:
            step: Steps of the run that are done.
            busy: On rank 0, whether an earlier checkpoint is still on its way: then a later step
                will do.
        """
        by_step = self._steps > 0 and step % self._steps == 0
        by_clock = self._seconds > 0 and step % self._look_every == 0
        if not by_step and not by_clock:
            return False
        elapsed = self._clock() - self._last
        wanted = (by_step or elapsed >= self._seconds) and not busy
        decided: bool = comm.broadcast_object(wanted)
        return decided

    def saved(self) -> None:
        """Count the time from now: there is a checkpoint."""
        self._last = self._clock()
