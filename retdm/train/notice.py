"""Notices that training is to stop before its end; all ranks heed one at the same step."""

import enum
from collections.abc import Callable
from typing import TYPE_CHECKING

from retdm import comm

if TYPE_CHECKING:
    from retdm.train.session import Session


class Notice(enum.Enum):
    """Why training is to stop; the first that is given on some rank counts."""

    STOP = "stop"
    """Whoever started the run wants it to end."""
    PREEMPTION = "preemption"
    """A machine is taken back; the run goes on elsewhere."""


class Interrupted(Exception):
    """Training ended on a notice; what it did so far is on storage."""

    def __init__(self, notice: Notice, step: int) -> None:
        super().__init__(notice, step)
        self.notice = notice
        self.step = step
        """Steps of the run up to its newest checkpoint."""

    def __str__(self) -> str:
        return f"interrupted by a notice ({self.notice.value}) after step {self.step}"


def heed(session: "Session", step: int, *, secure: Callable[[], None] = lambda: None) -> None:
    """End training on all ranks if some rank has a notice; all ranks call this alike.

    Ranks hear of a notice at different times. One that acted on its own would leave the others
    waiting for it in their next exchange.

    Args:
        session: Has the notices.
        step: Steps of the run so far.
        secure: Puts what they did on storage, if it is not there; called on all ranks.

    Raises:
        Interrupted: If there is a notice.
    """
    own = session.notice()
    # On the CPU: the GPU's queue need not run empty for it.
    given = comm.any_rank([own is notice for notice in Notice])
    for notice, some in zip(Notice, given, strict=True):
        if some:
            secure()
            # Rank 0 alone writes; a rank that is gone before might take its process along.
            comm.barrier()
            session.leaving(notice, step)
            raise Interrupted(notice, step)
