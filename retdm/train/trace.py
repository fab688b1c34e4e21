"""A trace of some steps of a run, one file for each rank, to be opened in ui.perfetto.dev.

`torch.profiler` records operators and, on a GPU, kernels; the parts of a worker's time
(`retdm.methods.clock`) are in it by name. What profiling costs, these steps alone pay. A file is
named by the steps that are in it: fewer than were asked for where a run went on among them.
"""

import logging

import torch
from torch.profiler import ProfilerActivity, profile

from retdm import comm
from retdm.errors import StorageError
from retdm.methods import Clock
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.train.profiled_steps import ProfiledSteps

FOLDER = "profile/"
log = logging.getLogger(__name__)


def file_of(steps: ProfiledSteps, rank: int) -> str:
    """Where the trace of a rank lies in the run's folder."""
    return f"{FOLDER}steps{steps.first:08d}-{steps.last:08d}-rank{rank}.json.gz"


class Trace:
    """Records when the run is in the steps that are wanted, unless their trace is on storage.

    Args:
        steps: Which; None for none.
        store: Folder of the run.
        clock: Of this rank.
        device: Where it computes.
    """

    def __init__(
        self, steps: ProfiledSteps | None, store: Store, clock: Clock, device: torch.device
    ) -> None:
        self._steps, self._store, self._clock = steps, store, clock
        self._activities = [ProfilerActivity.CPU]
        if device.type == "cuda":
            self._activities.append(ProfilerActivity.CUDA)
        self._recording: tuple[profile, ProfiledSteps] | None = None
        there = _there(steps, store) if steps else []
        self._partly_there = bool(there)
        if steps and (name := file_of(steps, comm.rank())) in there:
            self._steps = None
            log.info("profile: %s/%s is there already, and stays", store.url, name)

    def reached(self, step: int) -> None:
        """Hear that `step` steps of the run are done; called before the first and after each."""
        if self._steps is None:
            return
        if self._recording is None and self._steps.first - 1 <= step < self._steps.last:
            recording = profile(activities=self._activities)
            self._recording = recording, ProfiledSteps(step + 1, self._steps.last)
            recording.start()
            self._clock.named = True
        elif self._recording is not None and step >= self._steps.last:
            recording, recorded = self._recording
            recording.stop()
            self._recording, self._steps, self._clock.named = None, None, False
            self._write(recording, recorded)

    def _write(self, recording: profile, steps: ProfiledSteps) -> None:
        name = file_of(steps, comm.rank())
        try:
            with Scratch("trace") as folder:
                recording.export_chrome_trace(str(folder / "trace.json.gz"))
                self._store.write(name, folder / "trace.json.gz")
        except (StorageError, OSError) as error:
            # The run is worth more than its trace, and the other ranks wait in the next step.
            log.warning("profile: there is no trace of rank %d: %s", comm.rank(), error)
            return
        if comm.rank() == 0:
            where = f"{self._store.url}/{name}"
            log.info("profile: steps %d to %d are in %s", steps.first, steps.last, where)

    def close(self) -> None:
        """End it where the run ends; a trace that is not complete is dropped, and that is told."""
        if self._recording is not None:
            self._recording[0].stop()
            self._recording, self._clock.named = None, False
        if self._steps is not None and not self._partly_there and comm.rank() == 0:
            steps = self._steps
            log.warning(
                "profile: this run did not take all of the steps %d to %d, so there is no trace",
                *(steps.first, steps.last),
            )


def _there(steps: ProfiledSteps, store: Store) -> list[str]:
    """This rank's traces of all of the steps, or of their last ones; none if nobody can tell."""
    rank = comm.rank()
    whole = file_of(steps, rank)
    end = whole.partition("-")[2]
    try:
        # Steps have eight digits, so that a later first one sorts behind an earlier one.
        return [name for name in store.names(FOLDER) if name.endswith(end) and name >= whole]
    except StorageError as error:
        log.warning("profile: not known whether there is a trace of rank %d: %s", rank, error)
        return []
