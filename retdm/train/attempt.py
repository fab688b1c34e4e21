"""Keeps attempts at one run apart: only the latest may add checkpoints to it.

A program holds a run as long as it trains it. But when it restarts lost workers, or dies and is
started again, the old ones may still be there: killed with a delay, or cut off from Ray and not
from storage. What they would write belongs to steps that are being repeated.
"""

from retdm.claims import Claim, Work, succeed
from retdm.storage import Store

_ATTEMPT = Work(
    folder="_attempt/",
    noun="attempt at the run",
    verb="train",
    option="",
    elsewhere="choose another --run-name",
    lockless="choose another --storage",
)


def begin_attempt(store: Store) -> Claim:
    """End the right of all earlier attempts to write; rank 0 calls this before it reads.

    Raises:
        StorageError: If the run's folder cannot be written.
    """
    return succeed(store, _ATTEMPT)
