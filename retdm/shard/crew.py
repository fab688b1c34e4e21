"""Runs a function over many items in several processes, with progress while an item is at work.

The function is a generator: it yields None for each step of an item (a photo, say) and at last
the item's result. Items are taken one by one as processes become free, so a later item may
depend on earlier results.
"""

import contextlib
import math
import os
import signal
import threading
import time
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from typing import Any, TypeVar

from retdm.data.processes import begin, forkserver, storage_settings
from retdm.errors import RetdmError, TransientStorageError

Item = TypeVar("Item")
Result = TypeVar("Result")
Work = Callable[[Item], Iterator[Result | None]]

_POLL_S = 0.2
_BYTES_WORTH_A_PROCESS = 32 << 20
_SOON, _NOW = 1, 2
"""Values of `_stop`: at the next step of an item, or at once."""
_WAITING_EACH = 2
"""Items handed to each process, so that it need not wait for the next one."""

_steps: Any = None
_stop: Any = None


class _StoppedError(Exception):
    """The crew was sent home in the middle of an item."""


def useful_workers(wanted: int | None, items: int, size_bytes: int) -> int:
    """How many processes to use for so much data.

    Starting one takes as long as packing or checking some photos.

    Args:
        wanted: What the user said; None: one for each core, as far as that pays.
        items: How many things there are to work on.
        size_bytes: Of all of them.
    """
    if wanted is None:
        worth = math.ceil(size_bytes / _BYTES_WORTH_A_PROCESS)
        wanted = min(len(os.sched_getaffinity(0)), worth)
    return max(1, min(wanted, items))


def work_through(
    work: Work[Item, Result], items: Iterable[Item], *, workers: int
) -> Generator[Result | None, None, None]:
    """Yield None for each step of any item, and the result of each item as soon as it is there.

    Closing the iterator, or Ctrl-C, ends the processes at their next step; a storage that does not
    answer ends them at once. They end with this process however that ends.

    Args:
        work: A function at the top of a module; with one worker it runs in this process.
        items: What to work on; taken as late as possible.
        workers: Processes.

    Raises:
        RetdmError: If a process was killed. What `work` raises is raised here as it is.
    """
    if workers == 1:
        for item in items:
            yield from work(item)
        return
    context = forkserver(work.__module__)
    steps, stop = context.Value("Q", 0), context.Value("b", 0, lock=False)
    pool = ProcessPoolExecutor(workers, context, _enter, (storage_settings(), steps, stop))
    waiting: set[Future[Result]] = set()
    queue = iter(items)
    seen = 0
    try:
        while True:
            while len(waiting) < _WAITING_EACH * workers:
                try:
                    item = next(queue)
                except StopIteration:
                    break
                with _undisturbed():
                    waiting.add(pool.submit(_run, work, item))
            if not waiting:
                return
            done, waiting = wait(waiting, timeout=_POLL_S, return_when=FIRST_COMPLETED)
            now = steps.get_obj().value  # Ctrl-C amid `steps.value` could keep its lock for ever
            yield from [None] * (now - seen)
            seen = now
            for future in done:
                yield future.result()
    except TransientStorageError:
        # The others wait for the same storage, each as long as this one did.
        stop.value = _NOW
        raise
    except BrokenProcessPool as error:
        raise RetdmError(
            "a worker process was killed, perhaps because the memory was full; run it again, "
            "with fewer --workers"
        ) from error
    finally:
        stop.value = stop.value or _SOON
        pool.shutdown(wait=True, cancel_futures=True)


@contextlib.contextmanager
def _undisturbed() -> Iterator[None]:
    """Put Ctrl-C off while a process is being started, and keep it from that process.

    What is started inherits the mask: the server, which imports before it ignores the signal, and
    the processes, in which it no longer does. The mask does not spare this process, as the signal
    may come to another thread; half-started, a process would not be waited for.
    """
    came: list[int] = []
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    main = threading.current_thread() is threading.main_thread()
    before = signal.signal(signal.SIGINT, lambda *_: came.append(1)) if main else None
    try:
        yield
    finally:
        if main:
            signal.signal(signal.SIGINT, before)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if came:
            signal.raise_signal(signal.SIGINT)


def _enter(settings: dict[str, str], steps: Any, stop: Any) -> None:
    """Runs first in each process."""
    global _steps, _stop
    _steps, _stop = steps, stop
    # Ctrl-C reaches the whole process group; the parent alone decides what it means.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    begin(settings)
    threading.Thread(target=_leave, daemon=True).start()


def _leave() -> None:
    while _stop.value != _NOW:
        time.sleep(_POLL_S)
    os._exit(1)


def _run(work: Work[Item, Result], item: Item) -> Result:
    result = None
    for event in work(item):
        if _stop.value:
            raise _StoppedError
        if event is None:
            with _steps.get_lock():
                _steps.value += 1
        else:
            result = event
    assert result is not None
    return result
