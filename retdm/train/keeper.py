"""Keeps a run's checkpoints on storage: written beside training, whole or not at all, few.

A checkpoint is a copy of the state, taken between two steps. A thread writes it to a local file,
copies that to storage and only then names it in the index, with its digest; whatever dies in
between leaves an index of whole checkpoints. Training does not wait, unless the one before is
still on its way.
"""

import logging
import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

from torch import Tensor

from retdm.claims import Claim
from retdm.errors import StorageError, TransientStorageError
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.storage.file import FileStore
from retdm.train import checkpoint
from retdm.train.checkpoint import TrainingState
from retdm.train.history import Epochs, Kept, kept_checkpoints, publish, retain

log = logging.getLogger(__name__)


class Keeper:
    """Writes the checkpoints of one run; on rank 0 alone."""

    def __init__(
        self,
        store: Store,
        claim: Claim,
        *,
        from_step: int,
        keep_best: int,
        before: Callable[[], None],
    ) -> None:
        """Go on with the checkpoints of a run that continues at `from_step`.

        Args:
            store: Folder of the run.
            claim: Of this attempt at the run, see `retdm.train.attempt`.
            from_step: Later checkpoints are given up: they could not be read.
            keep_best: `checkpoint.keep_best`.
            before: Called in the writing thread before a checkpoint: puts there what belongs to
                the steps so far, such as the log.
        """
        self.store = store
        self.claim = claim
        self.keep_best = keep_best
        self.before = before
        self.written = 0
        """Checkpoints that are on storage, by this object."""
        self.last_seconds = 0.0
        """What the last of them took, its copy to storage included."""
        self.kept = [one for one in kept_checkpoints(store) if one.step <= from_step]
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="checkpoint")
        self._writing: Future[None] | None = None

    def begin(self, history: Epochs) -> None:
        """Put the index right, and remove what died on its way to storage.

        Raises:
            RetdmError: If a later attempt at the run has begun.
        """
        self.claim.check()
        publish(self.store, history, self.kept)
        known = {checkpoint.file_of(one.name) for one in self.kept}
        for name in self.store.names(checkpoint.FOLDER):
            if name not in known:
                self._delete(name)
        if isinstance(self.store, FileStore):
            # What a killed write left is not among the names.
            FileStore(self.store.path(checkpoint.FOLDER.rstrip("/"))).sweep()

    @property
    def busy(self) -> bool:
        """Whether a checkpoint is on its way."""
        return self._writing is not None and not self._writing.done()

    def save(self, state: TrainingState, name: str) -> None:
        """Write a checkpoint, beside what follows; `state` may change as soon as this returns.

        If the one before failed for a reason that may pass, this one is tried in its place.

        Raises:
            RetdmError: If the one before could not be written for another reason.
        """
        try:
            self.wait()
        except TransientStorageError as error:
            log.warning("%s; the next checkpoint is tried", error)
        self._writing = self._thread.submit(self._write, _copy(state), name)

    def wait(self) -> None:
        """Return when all checkpoints are on storage.

        Raises:
            RetdmError: If the last one could not be written.
        """
        writing, self._writing = self._writing, None
        if writing is not None:
            writing.result()

    def close(self) -> None:
        """End the thread after what it is doing; an error in it is told, not raised."""
        self._thread.shutdown()
        error = self._writing.exception() if self._writing else None
        if error:
            log.warning("a checkpoint was not written: %s", error)

    def _write(self, state: TrainingState, name: str) -> None:
        begun = time.perf_counter()
        self.claim.check()
        self.before()
        with Scratch("checkpoint") as folder:
            file = folder / "state.pt"
            checkpoint.save(state, file)
            sha256 = checkpoint.digest(file)
            self.store.write(checkpoint.file_of(name), file)
        progress = state.progress
        new = Kept(
            name=name,
            stage=progress.stage,
            epoch=progress.epoch,
            next_batch=progress.data.next_batch,
            step=progress.step,
            sha256=sha256,
        )
        # A step may be saved again under its name, after a notice at the end of an epoch.
        every = [*(one for one in self.kept if one.name != name), new]
        self.kept = retain(every, state.history, keep_best=self.keep_best)
        # Again: the upload may have taken long.
        self.claim.check()
        publish(self.store, state.history, self.kept)
        self.written, self.last_seconds = self.written + 1, time.perf_counter() - begun
        for one in every:
            if one not in self.kept:
                self._delete(checkpoint.file_of(one.name))

    def _delete(self, name: str) -> None:
        """What stays because it may not be removed costs room, not the run."""
        try:
            self.store.delete(name)
        except StorageError as error:
            log.warning("%s", error)


def _copy(state: TrainingState) -> TrainingState:
    """The state as it is now, its tensors on the CPU."""
    copied = {name: _copied(getattr(state, name)) for name in state.__dataclass_fields__}
    return TrainingState(**copied)


def _copied(value: Any) -> Any:
    if isinstance(value, Tensor):
        return value.detach().to("cpu", copy=True)
    if isinstance(value, dict):
        return {key: _copied(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_copied(item) for item in value]
    return value
