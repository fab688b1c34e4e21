"""A program that is told to stop ends with one line, and the status of a shell for the signal.

For work of which nothing is to be saved first; runs that train have `stopping`.
"""

import contextlib
import os
import signal
import sys
from collections.abc import Iterator
from types import FrameType

import ray

from retdm.console import Stopped


@contextlib.contextmanager
def heeding_signals() -> Iterator[None]:
    """Let SIGTERM and Ctrl-C end the block, which is of the main thread and behind `ray.init`.

    Ray's own handler, which that sets, ends the program without a word and with status 15.

    Raises:
        Stopped: After a signal; after a second one while the block ends, too.
    """
    told: list[signal.Signals] = []

    def stop(number: int, frame: FrameType | None) -> None:
        told.append(signal.Signals(number))
        # Which libraries let pass where they catch every `Exception`.
        raise KeyboardInterrupt

    before = {number: signal.signal(number, stop) for number in (signal.SIGTERM, signal.SIGINT)}
    try:
        yield
    except KeyboardInterrupt:
        raise Stopped(f"stopped by {told[-1].name}", told[-1]) from None
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def end_without_shutdown(status: int) -> None:
    """End the process without Ray's shutdown.

    Threads are left in Ray, and Ray ends a process one of whose threads looks there after the
    shutdown, with status 1. This job's actors, and a Ray of its own, do not outlive the process.
    """
    if ray.is_initialized():
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(OSError, ValueError):
                stream.flush()
        os._exit(status)
