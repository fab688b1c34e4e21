"""The ledger of a run: which samples each optimizer step consumed, written by rank 0.

There is a file of JSON lines for each epoch, `ledger/epoch000.jsonl` and so on, so that what is
over is sent to storage once: one file that grows would be sent whole with every checkpoint. As
with the log, the files are on the node first and are copied before every checkpoint, and a run
that goes on drops the lines of steps which it will repeat.
"""

import re
import threading
from collections.abc import Sequence

import torch

from retdm import comm
from retdm.data.batch import Batch
from retdm.data.plan import Position
from retdm.errors import CheckpointError
from retdm.evaluation import strict_json
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.train.record_line import step_of

FOLDER = "ledger/"


def file_of(epoch: int) -> str:
    """Where the lines of an epoch lie in the run's folder; epochs count over all stages."""
    return f"{FOLDER}epoch{epoch:03d}.jsonl"


def consumed(batch: Batch) -> list[int]:
    """Rows of the label table that the global batch holds, in order; every rank calls this.

    Rows that only fill up a rank's part are left out; what stands in for a bad image is what
    counts.
    """
    rows = comm.gather_rows(torch.where(batch.valid, batch.indices, -1))
    kept: list[int] = rows[rows >= 0].tolist()
    return kept


class Ledger:
    """Appends one line for each step."""

    def __init__(
        self, store: Store, keys: Sequence[str], *, from_step: int, from_epoch: int
    ) -> None:
        """Open the ledger of a run that continues at `from_step`; later lines are dropped.

        Args:
            store: Folder of the run.
            keys: Of the samples, by row of the label table.
            from_step: Steps that are done.
            from_epoch: The epoch of the next one.

        Raises:
            CheckpointError: If a file of such an epoch is damaged; names the line.
        """
        self._store, self._keys = store, keys
        self._scratch = Scratch("ledger")
        self._lines = threading.Lock()
        self._changed: set[str] = set()
        for name in store.names(FOLDER):
            if (epoch := _epoch_of(name)) is not None and epoch >= from_epoch:
                kept = _lines_until(from_step, store.read(name), f"{store.url}/{name}")
                self._append(name, kept)

    def write(self, step: int, at: Position, rows: Sequence[int]) -> None:
        """Add the line of a step.

        Args:
            step: Counted over the run, this one included.
            at: Of its batch.
            rows: See `consumed`.
        """
        keys = [self._keys[row] for row in rows]
        line = {"step": step, "plan_epoch": at.epoch, "batch": at.next_batch, "keys": keys}
        self._append(file_of(at.epoch), strict_json(line, indent=None))

    def _append(self, name: str, lines: bytes) -> None:
        with self._lines:
            with (self._scratch.path / name.removeprefix(FOLDER)).open("ab") as file:
                file.write(lines)
            self._changed.add(name)

    def upload(self) -> None:
        """Copy what has changed to the run's storage; may run beside `write`."""
        with self._lines:
            contents = {name: self._read(name) for name in sorted(self._changed)}
        for name, content in contents.items():
            self._store.write(name, content)
        with self._lines:
            self._changed -= {name for name, sent in contents.items() if self._read(name) == sent}

    def _read(self, name: str) -> bytes:
        return (self._scratch.path / name.removeprefix(FOLDER)).read_bytes()

    def close(self) -> None:
        """Remove the local copy; what `upload` has not copied is lost."""
        self._scratch.close()


def _epoch_of(name: str) -> int | None:
    """Of a file of the ledger; None for another file."""
    found = re.fullmatch(rf"{FOLDER}epoch(\d+)\.jsonl", name)
    return int(found[1]) if found else None


def _lines_until(step: int, content: bytes, where: str) -> bytes:
    """The lines of steps up to `step`.

    Raises:
        CheckpointError: If one is none; names it.
    """
    kept = []
    for number, line in enumerate(content.splitlines(), 1):
        at = step_of(line)
        if at is None:
            # Not left out: a ledger with a hole would tell of samples that nobody consumed.
            raise CheckpointError(
                f"{where}, line {number}: not a line of a ledger; restore the file, remove the "
                "line, or set run.ledger=false"
            )
        if at <= step:
            kept.append(line + b"\n")
    return b"".join(kept)
