"""Which failure of a worker explains those of the others, and what it is called in one line."""

import re
from collections.abc import Mapping
from dataclasses import dataclass

import ray.exceptions
import torch

from retdm.errors import RetdmError, TransientStorageError
from retdm.onray.preempted import Preempted
from retdm.train.notice import Interrupted

_LESS = "fewer workers on a machine, lower data.batch_size or data.loader_workers"
"""What a run is to be asked for."""
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

    @property
    def is_loss(self) -> bool:
        """Whether a process was lost, which need not be a bug."""
        return _is_loss(self.error)

    def __str__(self) -> str:
        where = "".join(f" {note}" for note in getattr(self.error, "__notes__", ())[-1:])
        if isinstance(self.error, RetdmError):
            return f"{self.error} (rank {self.rank}{where})" if where else str(self.error)
        if isinstance(self.error, Preempted):
            return str(self.error)
        if isinstance(self.error, ray.exceptions.RayError):
            return f"rank {self.rank}: {death(str(self.error))}"
        if loader := _LOADER_DEATH.search(str(self.error)):
            return f"rank {self.rank}: {_silent_death(f'decoding process {loader[1]}', _LESS)}"
        text = str(self.error).strip().partition("\n")[0]
        name = type(self.error).__name__
        return f"rank {self.rank}{where}: {name}" + (f": {text}" if text else "")


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


def _is_loss(error: BaseException) -> bool:
    return isinstance(error, ray.exceptions.RayError) or bool(_LOADER_DEATH.search(str(error)))


def _weight(error: BaseException) -> int:
    """The less, the more it explains."""
    if isinstance(error, RetdmError | Interrupted):
        return 1 if isinstance(error, TransientStorageError) else 0
    if _is_loss(error):
        return 2 if isinstance(error, Preempted) and error.node else 3
    broken = isinstance(error, torch.distributed.DistError) or "gloo" in str(error)
    return 5 if broken else 4


def death(text: str, *, less: str = _LESS) -> str:
    """One line of what Ray says in many about a lost process.

    Args:
        text: What Ray says.
        less: What takes less memory, in words of the program's user.
    """
    pid, ip = (re.search(rf"\b{name}: (\S+)", text) for name in ("pid", "ip"))
    process = "process" + (f" {pid[1]}" if pid else "") + (f" on {ip[1]}" if ip else "")
    if "low on memory" in text or "OutOfMemory" in text:
        why = "was killed by Ray because its machine ran short of memory"
    elif "node" in text and ("died" in text or "dead" in text) and "worker process" not in text:
        why = "was lost with its machine"
    else:
        return _silent_death(process, less)
    return f"{process} {why}; {_remedy(less)}"


def _silent_death(process: str, less: str) -> str:
    return (
        f"{process} died without a word, as when the kernel kills it because memory ran out; "
        f"{_remedy(less)}"
    )


def _remedy(less: str) -> str:
    return f"see that the machine stays up, and that its memory is enough ({less})"
