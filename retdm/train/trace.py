"""A trace of some steps of a run, one file for each rank, to be opened in ui.perfetto.dev.

`torch.profiler` records operators and, on a GPU, kernels; the parts of a worker's time
(`retdm.methods.clock`) are in it by name. What profiling costs, these steps alone pay.
"""

import logging

import torch
from torch.profiler import ProfilerActivity, profile

from retdm import comm
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
    """Records when the run is in the steps that are wanted, once.

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
        self._recording: profile | None = None

    def reached(self, step: int) -> None:
        """Hear that `step` steps of the run are done; called before the first and after each."""
        if self._steps is None:
            return
        if self._recording is None and self._steps.first - 1 <= step < self._steps.last:
            self._recording = profile(activities=self._activities)
            self._recording.start()
            self._clock.named = True
        elif self._recording is not None and step >= self._steps.last:
            self._write(self._recording, self._steps)

    def _write(self, recording: profile, steps: ProfiledSteps) -> None:
        recording.stop()
        self._recording, self._steps, self._clock.named = None, None, False
        name = file_of(steps, comm.rank())
        with Scratch("trace") as folder:
            recording.export_chrome_trace(str(folder / "trace.json.gz"))
            self._store.write(name, folder / "trace.json.gz")
        if comm.rank() == 0:
            where = f"{self._store.url}/{name}"
            log.info("profile: steps %d to %d are in %s", steps.first, steps.last, where)

    def close(self) -> None:
        """End it where the run ends; a trace that is not complete is dropped, and that is told."""
        if self._recording is not None:
            self._recording.stop()
            self._recording, self._clock.named = None, False
        if self._steps is not None and comm.rank() == 0:
            steps = self._steps
            log.warning(
                "profile: this run did not take all of the steps %d to %d, so there is no trace",
                *(steps.first, steps.last),
            )
