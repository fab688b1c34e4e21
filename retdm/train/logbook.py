"""The record of a run: a JSON-lines log, TensorBoard scalars and histograms, written by rank 0.

Both are files on the node first and copied to the run's storage before every checkpoint, because
an object store cannot append.
"""

import logging
import threading
from collections.abc import Mapping
from typing import Any

from torch import Tensor
from torch.utils.tensorboard import SummaryWriter

from retdm.console import counted
from retdm.evaluation import strict_json
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.train.record_line import step_of

log = logging.getLogger(__name__)
LOG = "log.jsonl"
TENSORBOARD = "tensorboard"
_LISTED = 8


class Logbook:
    """Appends lines of the kinds "step", "skipped" and "epoch"; each holds its global step."""

    def __init__(self, store: Store, *, from_step: int) -> None:
        """Open the log of a run that continues at `from_step`; later lines are dropped."""
        self.store = store
        self._scratch = Scratch("log")
        self._lines = threading.Lock()
        self.log = self._scratch.path / LOG
        self.log.write_bytes(self._earlier_lines(from_step))
        self.events = self._scratch.path / TENSORBOARD
        self.writer = SummaryWriter(str(self.events), purge_step=from_step + 1)

    def _earlier_lines(self, until: int) -> bytes:
        """Those of steps up to `until`; a damaged one is left out: nothing is read from a log."""
        if self.store.size(LOG) is None:
            return b""
        steps = [(line, step_of(line)) for line in self.store.read(LOG).splitlines()]
        damaged = [str(number) for number, (_, step) in enumerate(steps, 1) if step is None]
        if damaged:
            more = ", ..." if len(damaged) > _LISTED else ""
            log.warning(
                "%s/%s: %s of another kind or cut off, left out (%s%s)",
                *(self.store.url, LOG, counted(len(damaged), "line")),
                *(", ".join(damaged[:_LISTED]), more),
            )
        kept = [line for line, step in steps if step is not None and step <= until]
        return b"".join(line + b"\n" for line in kept)

    def write(self, kind: str, step: int, values: Mapping[str, Any]) -> None:
        """Add one line, and its numbers as scalars named "kind/name"."""
        with self._lines, self.log.open("ab") as file:
            file.write(strict_json({"kind": kind, "step": step, **values}, indent=None))
        for name, value in values.items():
            if isinstance(value, int | float) and not isinstance(value, bool):
                self.writer.add_scalar(f"{kind}/{name}", value, step)

    def histograms(self, step: int, values: Mapping[str, Tensor]) -> None:
        """Add a histogram of each tensor, for TensorBoard alone; empty ones are left out."""
        for name, tensor in values.items():
            if tensor.numel():
                self.writer.add_histogram(name, tensor.float().cpu(), step)

    def upload(self) -> None:
        """Copy log and event files to the run's storage; may run beside `write`."""
        self.writer.flush()
        with self._lines:
            lines = self.log.read_bytes()
        self.store.write(LOG, lines)
        for file in sorted(self.events.iterdir()):
            # As it is now: it may grow while it is sent.
            self.store.write(f"{TENSORBOARD}/{file.name}", file.read_bytes())

    def close(self) -> None:
        """Remove the local copy; what `upload` has not copied is lost."""
        self.writer.close()
        self._scratch.close()
