"""What failed workers mean: one line for each restart, and one error at the end.

Ray Train restarts all workers when one of them fails, `run.max_failures` times, and prints each
failure several times over, with tracebacks. Here each is told once. What no restart can mend, such
as a damaged shard, ends the run at once.
"""

import logging
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import ray.exceptions
import ray.train
import torch
from ray.train.v2._internal.exceptions import (
    WorkerGroupStartupFailedError,
    WorkerGroupStartupTimeoutError,
)

from retdm.console import Failed, quiet_clients
from retdm.errors import RetdmError, StorageError, TransientStorageError
from retdm.onray.placement import Placement
from retdm.onray.preempted import Preempted
from retdm.train.notice import Interrupted

log = logging.getLogger(__name__)
FRUITLESS = (WorkerGroupStartupFailedError, WorkerGroupStartupTimeoutError)
"""What Ray Train raises when it could not place or begin the workers; it then tries again."""
_GOES_ON = "the same command goes on from the latest checkpoint"
_REMEDY = (
    "see that the machine stays up, and that its memory is enough (fewer workers on a machine, "
    "lower data.batch_size or data.loader_workers)"
)
_LOADER_DEATH = re.compile(r"DataLoader worker \(pid\(s\) ([\d, ]+)\) exited unexpectedly")


@dataclass(frozen=True)
class Failure:
    """The failure of one worker that explains those of the others."""

    rank: int
    error: BaseException

    @staticmethod
    def of(worker_failures: Mapping[int, BaseException]) -> "Failure":
        """Choose among the failures of all ranks: where one is lost, the others break too."""
        failures = [Failure(rank, _root(error)) for rank, error in worker_failures.items()]
        return min(failures, key=lambda failure: (_weight(failure.error), failure.rank))

    @property
    def is_final(self) -> bool:
        """Whether no restart can mend it, or none is wanted. A storage server may come back."""
        return isinstance(self.error, RetdmError | Interrupted) and not isinstance(
            self.error, TransientStorageError
        )

    @property
    def is_preemption(self) -> bool:
        """Whether the worker's machine was taken back by the cloud; Ray does not count those."""
        return isinstance(self.error, ray.exceptions.RayActorError) and self.error.preempted

    def __str__(self) -> str:
        where = "".join(f" {note}" for note in getattr(self.error, "__notes__", ())[-1:])
        if isinstance(self.error, RetdmError):
            return f"{self.error} (rank {self.rank}{where})" if where else str(self.error)
        if isinstance(self.error, Preempted):
            return str(self.error)
        if isinstance(self.error, ray.exceptions.RayError):
            return f"rank {self.rank}: {_death(str(self.error))}"
        if loader := _LOADER_DEATH.search(str(self.error)):
            return f"rank {self.rank}: {_silent_death(f'decoding process {loader[1]}')}"
        text = str(self.error).strip().partition("\n")[0]
        name = type(self.error).__name__
        return f"rank {self.rank}{where}: {name}" + (f": {text}" if text else "")


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
        return Failed(f"Ray Train's controller: {_death(str(error))}; {_GOES_ON}")
    if isinstance(error, ray.train.ControllerError):
        cause = error.controller_failure
        if isinstance(cause, OSError):
            return _unstored(cause, storage)
        if isinstance(cause, RetdmError):
            return cause
        if isinstance(cause, ray.exceptions.RayError):
            return Failed(f"Ray Train's controller: {_death(str(cause))}; {_GOES_ON}")
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
        cause = _unstored(cause, storage)
    if isinstance(cause, RetdmError):
        return type(cause)(f"{failure if cause is failure.error else cause}; {ending}")
    if isinstance(cause, ray.exceptions.RayError) or _LOADER_DEATH.search(str(cause)):
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


def _root(error: BaseException) -> BaseException:
    """What a worker failed of, out of Ray's wrappings; ours if it caused what came after."""
    while inner := getattr(error, "_base_exc", None) or getattr(
        error, "health_check_failure", None
    ):
        error = inner
    cause: BaseException | None = error
    while cause is not None:
        if isinstance(cause, RetdmError):
            return cause
        cause = cause.__cause__
    return error


def _traceback(text: str, rank: int) -> str:
    """A worker's traceback out of what Ray says of all; the error itself comes without."""
    _, *parts = re.split(r"^\[Rank ([\d,]+) Error Snippet\]:\n", text, flags=re.MULTILINE)
    for ranks, part in zip(parts[::2], parts[1::2], strict=True):
        if str(rank) in ranks.split(","):
            return part.rstrip()
    return text.rstrip()


def _weight(error: BaseException) -> int:
    """The less, the more it explains."""
    if isinstance(error, RetdmError | Interrupted):
        return 1 if isinstance(error, TransientStorageError) else 0
    if isinstance(error, ray.exceptions.RayError) or _LOADER_DEATH.search(str(error)):
        return 2 if isinstance(error, Preempted) and error.node else 3
    broken = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    return 5 if broken else 4


def _death(text: str) -> str:
    """One line of what Ray says in many about a lost process."""
    pid, ip = (re.search(rf"\b{name}: (\S+)", text) for name in ("pid", "ip"))
    process = "process" + (f" {pid[1]}" if pid else "") + (f" on {ip[1]}" if ip else "")
    if "low on memory" in text or "OutOfMemory" in text:
        why = "was killed by Ray because its machine ran short of memory"
    elif "node" in text and ("died" in text or "dead" in text) and "worker process" not in text:
        why = "was lost with its machine"
    else:
        return _silent_death(process)
    return f"{process} {why}; {_REMEDY}"


def _silent_death(process: str) -> str:
    return (
        f"{process} died without a word, as when the kernel kills it because memory ran out; "
        f"{_REMEDY}"
    )


def _is_arrow(error: OSError) -> bool:
    """Whether it comes from Arrow's S3 client, by which Ray stores its own files."""
    return "AWS Error" in str(error)


def _unstored(error: OSError, storage: str) -> StorageError:
    text = " ".join(str(error).split())
    return StorageError(
        f"{storage}: a checkpoint could not be stored or read ({text}); check that the "
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
