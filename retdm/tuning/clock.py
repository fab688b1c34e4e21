"""How long the programs of a search have been at work, together, and until when trials begin."""

import time

import optuna

from retdm.config import TuneSettings

SPENT = "spent seconds"
"""Attribute of the study."""


class Clock:
    """Runs from when a program begins or goes on with a search."""

    def __init__(self, study: optuna.Study, settings: TuneSettings) -> None:
        """Of a search, whose study knows what its earlier programs took."""
        self._study, self._begun = study, time.monotonic()
        self._before: float = study.user_attrs.get(SPENT, 0.0)
        self.until: float | None = None
        """On the monotonic clock; no trial begins later. None: without limit."""
        if settings.hours:
            self.until = self._begun + 3600 * settings.hours - self._before

    @property
    def elapsed(self) -> float:
        """Seconds of this program."""
        return time.monotonic() - self._begun

    @property
    def late(self) -> bool:
        """Whether no more trials begin."""
        return self.until is not None and time.monotonic() > self.until

    def note(self) -> None:
        """Let the study know; what a program takes after the last time is not counted."""
        self._study.set_user_attr(SPENT, self._before + self.elapsed)
