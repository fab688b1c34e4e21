"""What failed workers mean: one line for each restart, and one error at the end.

Ray Train restarts all workers when one of them fails, `run.max_failures` times, and prints each
failure several times over, with tracebacks. Here each is told once. What no restart can mend, such
as a damaged shard, ends the run at once.
"""

import logging
import re
import time
from typing import Any

import ray.exceptions
import ray.train
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)

from retdm.console import Failed, quiet_clients
from retdm.errors import RetdmError, StorageError
from retdm.onray.failure import Failure, death
from retdm.onray.placement import Placement
from retdm.onray.preempted import Preempted
from retdm.train.notice import Interrupted

log = logging.getLogger(__name__)
FRUITLESS = (WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError)
"""What Ray Train raises when it could not place or begin the workers; it then tries again."""
_GOES_ON = "the same command goes on from the latest checkpoint"


def explain(
    error: ray.train.TrainingFailedError | ray.exceptions.RayActorError,
    *,
    max_failures: int,
    storage: str,
) -> BaseException:
    """What to tell the user of a run that Ray Train has given up.

    Logs the worker's traceback if it may be a bug.

    Args:
        error: Of `trainer.fit()`; a lost actor is its controller.
        max_failures: `run.max_failures`.
        storage: Where the run's checkpoints are.

    Returns:
        A `RetdmError` if the user can mend it, `Failed` if it was a worker, else `error`.
    """
    if isinstance(error, ray.exceptions.RayActorError):
        return Failed(f"Ray Train's controller: {death(str(error))}; {_GOES_ON}")
    if isinstance(error, ray.train.ControllerError):
        cause = error.controller_failure
        if isinstance(cause, OSError):
            return unstored(cause, storage)
        if isinstance(cause, RetdmError):
            return cause
        if isinstance(cause, ray.exceptions.RayError):
            return Failed(f"Ray Train's controller: {death(str(cause))}; {_GOES_ON}")
    if not isinstance(error, ray.train.WorkerGroupError):
        bug: BaseException = error
        return bug
    failure = Failure.of(error.worker_failures)
    times = "once" if max_failures == 0 else f"{max_failures + 1} times"
    ending = (
        f"the workers failed {times}, run.max_failures={max_failures} allows for no more; "
        f"{_GOES_ON}"
    )
    cause = failure.error
    if isinstance(cause, OSError) and _is_arrow(cause):
        cause = unstored(cause, storage)
    if isinstance(cause, RetdmError):
        return type(cause)(f"{failure if cause is failure.error else cause}; {ending}")
    if failure.is_loss:
        return Failed(f"{failure}; {ending}")
    log.error("%s", _traceback(str(error), failure.rank))
    return Failed(f"{failure} (see the traceback above, which may be a bug of retdm); {ending}")


def in_one_line(error: Exception) -> str:
    """Why one of several runs failed; a traceback besides if nobody foresaw it."""
    if isinstance(error, RetdmError | Failed):
        return str(error)
    log.warning("a run failed", exc_info=error)
    said = str(error).strip().splitlines()
    # Ray's messages end with the worker's own last line of traceback.
    return f"{type(error).__name__}: {said[-1] if said else 'no message'}"


def speak() -> None:
    """In a process of Ray's: print our own lines, and not what Ray says of failures told by us."""
    ours = logging.getLogger("retdm")
    ours.setLevel(logging.INFO)
    ours.handlers = [logging.StreamHandler()]
    ours.propagate = False
    quiet_clients()
    # Only the console: the files below Ray's session folder keep everything.
    for handler in logging.getLogger("ray.train").handlers:
        if isinstance(handler, logging.StreamHandler):
            handler.addFilter(_is_news)


class Watch(ray.train.UserCallback):  # type: ignore[misc]
    """In Ray Train's controller: tells each restart, and ends the run where none can help."""

    def __init__(self, max_failures: int, placement: Placement) -> None:
        self._max_failures, self._placement = max_failures, placement
        self._failures = 0
        self._told = ""

    def after_exception(self, run_context: Any, worker_exceptions: dict[int, Exception]) -> None:
        """Called when workers have failed; raising here makes the failure final."""
        if not self._told:
            speak()
        failure = Failure.of(worker_exceptions)
        if failure.is_final:
            raise failure.error
        # A note goes with the error to the program, which does not know where workers are.
        if where := self._placement.seen_from(failure.rank):
            failure.error.add_note(where)
        if failure.is_preemption:
            # Seen again and again until the machine is gone.
            if self._told != str(failure):
                log.warning("%s", _preemption(failure))
        else:
            self._failures += 1
            if self._failures <= self._max_failures:
                log.warning(
                    "worker group failed: %s; restart %d of %d",
                    *(failure, self._failures, self._max_failures),
                )
        self._told = str(failure)


def _preemption(failure: Failure) -> str:
    if isinstance(failure.error, Preempted):
        return failure.error.told(time.time())
    return f"worker group failed: {failure}; restarting (not counted)"


def _traceback(text: str, rank: int) -> str:
    """A worker's traceback out of what Ray says of all; the error itself comes without."""
    _, *parts = re.split(r"^\[Rank ([\d,]+) Error Snippet\]:\n", text, flags=re.MULTILINE)
    for ranks, part in zip(parts[::2], parts[1::2], strict=True):
        if str(rank) in ranks.split(","):
            return part.rstrip()
    return text.rstrip()


def _is_arrow(error: OSError) -> bool:
    """Whether it comes from Arrow's S3 client, by which Ray stores its own files."""
    return "AWS Error" in str(error)


def unstored(error: OSError, storage: str) -> StorageError:
    """What to tell of files that Ray could not store or read.

    Args:
        error: Of Arrow's.
        storage: URL of the folder.
    """
    text = " ".join(str(error).split())
    return StorageError(
        f"{storage}: Ray's own files could not be stored or read ({text}); check that the "
        "storage can be reached, has room, and may be written to"
    )


def _is_news(record: logging.LogRecord) -> bool:
    if record.getMessage().startswith("Error in training function"):
        return False
    error = record.exc_info[1] if record.exc_info else None
    if isinstance(error, ray.train.ControllerError):
        error = error.controller_failure
    # A lost process breaks the calls by which the others are ended, too.
    told = (
        *(RetdmError, Interrupted, ray.train.WorkerGroupError, ray.train.PreemptionError),
        *(*FRUITLESS, ray.exceptions.RayActorError),
    )
    return not isinstance(error, told)
