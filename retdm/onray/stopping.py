"""A program that is told to stop lets its runs write a checkpoint first, and ends when they have.

SIGTERM and Ctrl-C come to the driver, while ranks are other processes, maybe on other machines.
The driver puts a word into Ray's key-value store; a thread of each run's rank 0 looks there five
times a second, and all ranks agree on it after their step. Rank 0 answers in the same place when
the checkpoint is on storage. Nothing of it goes through Ray Train, whose controller looks at its
workers every two seconds: `ray job stop` kills after three.

A search stops one run for being worse than others in the same way: that run alone hears it.
"""

import contextlib
import logging
import queue
import signal
import threading
import time
from collections.abc import Callable, Collection
from types import FrameType, TracebackType
from typing import Any, Generic, TypeVar

import ray.exceptions

from retdm import console
from retdm.console import Stopped, counted
from retdm.onray.heeding import end_without_shutdown
from retdm.onray.words import Words

Outcome = TypeVar("Outcome")
log = logging.getLogger(__name__)
_LOOK_EVERY_S = 0.2
_HEARD_S = 2.0
"""Until every rank 0 that trains has heard; if none does, there is nothing to wait for."""


class Ear:
    """In the process of a run's rank 0: listens whether the program was told to stop."""

    def __init__(self, run: str) -> None:
        self.run = run
        self._words = Words()
        self._told = threading.Event()
        threading.Thread(target=self._listen, name="stopping", daemon=True).start()

    @property
    def told(self) -> bool:
        """Whether the run is to stop."""
        return self._told.is_set()

    def left(self, step: int) -> None:
        """Answer that there is a checkpoint of all steps up to `step`, and no more will be."""
        self._words.put(f"left {self.run}", str(step))

    def _listen(self) -> None:
        while not self.told:
            try:
                if self._words.get("stop") or self._words.get(f"stop {self.run}"):
                    self._words.put(f"heard {self.run}")
                    self._told.set()
            except ray.exceptions.RpcError as error:  # the head may come back
                log.debug("%s", error)
            time.sleep(_LOOK_EVERY_S)


class Stoppable(Generic[Outcome]):
    """A block of the main thread that waits for runs in other threads, and heeds signals.

    A second signal ends it at once.
    """

    def __init__(self) -> None:
        self._events: queue.SimpleQueue[tuple[str, Outcome] | signal.Signals] = queue.SimpleQueue()
        self.told: signal.Signals | None = None
        """The signal that came."""
        self._before: dict[signal.Signals, Any] = {}

    def __enter__(self) -> "Stoppable[Outcome]":
        # After `ray.init`, which sets a handler of its own.
        for number in (signal.SIGTERM, signal.SIGINT):
            self._before[number] = signal.signal(number, self._note)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)
        if isinstance(error, Stopped):
            console.at_end(end_without_shutdown)

    def _note(self, number: int, frame: FrameType | None) -> None:
        sent = signal.Signals(number)
        if self.told:
            raise Stopped(
                f"stopped by {sent.name} at once; the same command goes on from the latest "
                "checkpoint",
                sent,
            )
        self.told = sent
        self._events.put(sent)

    def ended(self, run: str, outcome: Outcome) -> None:
        """Say, from any thread, how the run at URL `run` ended."""
        self._events.put((run, outcome))

    def wait(self, runs: Callable[[], Collection[str]]) -> Outcome:
        """Wait for the next run to end; return how it did.

        Args:
            runs: URLs of those that train, asked for again and again after a signal.

        Raises:
            Stopped: After a signal, when the runs have written their checkpoints, or at once if
                Ray's head is away.
        """
        event = self._events.get()
        if not isinstance(event, signal.Signals):
            return event[1]
        log.warning(
            "%s: a checkpoint is written after the step of now, then all ends; "
            "a second signal ends all at once",
            event.name,
        )
        words = Words()
        try:
            words.put("stop", event.name)
            return self._last(event, runs, words)
        except ray.exceptions.RpcError as error:
            raise Stopped(
                f"stopped by {event.name}; Ray's head does not answer, so the runs could not be "
                "told or waited for; the same command goes on from the latest checkpoint",
                event,
            ) from error

    def _last(
        self, sent: signal.Signals, runs: Callable[[], Collection[str]], words: Words
    ) -> Outcome:
        over: dict[str, Outcome] = {}
        steps: dict[str, str] = {}
        until = time.monotonic() + _HEARD_S
        while True:
            train = runs()
            heard = [run for run in train if words.get(f"heard {run}") is not None]
            steps |= {run: step for run in heard if (step := words.get(f"left {run}")) is not None}
            working = [run for run in train if run not in steps and run not in over]
            deaf = time.monotonic() > until and not set(working) & set(heard)
            if over and not working and not steps:
                self._events.put(sent)  # for the next call
                return over.popitem()[1]
            if deaf or not working:
                raise Stopped(f"stopped by {sent.name}{_where(list(steps.values()))}", sent)
            with contextlib.suppress(queue.Empty):
                event = self._events.get(timeout=_LOOK_EVERY_S / 4)
                if not isinstance(event, signal.Signals):
                    over[event[0]] = event[1]


def run_stoppably(
    work: Callable[[], object], run: str, runs: Callable[[], Collection[str]]
) -> signal.Signals | None:
    """Call `work` in a thread; the main one waits beside, as Ray lets it hear signals seldom.

    Args:
        work: Trains.
        run: URL of the run or search that ends with it.
        runs: As `Stoppable.wait` asks for them.

    Returns:
        A signal that came when there was nothing left to stop; None without any.

    Raises:
        Stopped: After a signal, when the runs have written their checkpoints.
        BaseException: What `work` raises.
    """
    with Stoppable[BaseException | None]() as stoppable:

        def call() -> None:
            try:
                work()
            except BaseException as error:
                stoppable.ended(run, error)
            else:
                stoppable.ended(run, None)

        # A thread that hangs in Ray must not keep the program from ending.
        threading.Thread(target=call, name="work", daemon=True).start()
        error = stoppable.wait(runs)
    if error is not None:
        raise error
    return stoppable.told


def _where(steps: list[str]) -> str:
    if not steps:
        return "; nothing was training; the same command goes on from the latest checkpoint"
    if len(steps) == 1:
        return f" at step {steps[0]}; the checkpoint is written; the same command goes on"
    return (
        f"; {counted(len(steps), 'run')} wrote a checkpoint (steps {', '.join(steps)}); the same "
        "command goes on"
    )
