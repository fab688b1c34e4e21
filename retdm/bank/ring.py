"""The cross-batch memory: the newest image embeddings, whose they are and how old.

Fed with gathered rows (`retdm.comm.gather_rows`) every rank holds the same bank. It is not a
module, because DDP would send the buffers of a module around before every step; its
`state_dict` goes into the checkpoint, cursor and all, so a resumed run continues exactly.
"""

from dataclasses import dataclass
from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retdm.errors import CheckpointError

_EPS = 1e-12
"""Below any norm that matters; keeps a quotient finite."""


class BankRows(NamedTuple):
    """What a step leaves to the bank: one row for each image of the global batch."""

    embeddings: Float[Tensor, "rows embed"]
    set_ids: Int64[Tensor, " rows"]
    """Number of each image's label set, 0 or more."""
    samples: Int64[Tensor, " rows"]
    """Each image, as its row in the training table, 0 or more."""


@dataclass(frozen=True, slots=True)
class BankView:
    """What the bank offers at one step, in storage order; constants, not to be written to."""

    embeddings: Float[Tensor, "size embed"]
    set_ids: Int64[Tensor, " size"]
    """Label set of each row; -1 where the row is empty or too old."""


@dataclass(frozen=True, slots=True)
class Drift:
    """How far the stored embeddings of images are from new ones of the same images."""

    distance: float
    """Mean of |new - stored| / |new|; augmentation and dropout are part of it."""
    age: float
    """Mean number of steps between the two."""
    images: int
    """How many were seen again while still stored; 0 makes the means 0."""


class Bank:
    """A ring of `size` rows; a new row replaces the oldest."""

    def __init__(
        self,
        size: int,
        embedding: int,
        *,
        device: torch.device | str = "cpu",
        max_age: int = 0,
        dtype: torch.dtype = torch.float32,
    ) -> None:
        """Make an empty bank.

        Args:
            size: Rows; 0 for a bank that forgets everything.
            embedding: Width of a row.
            device: Where the rows live.
            max_age: Steps after which a row is no longer offered; 0: never.
            dtype: Of the embeddings.
        """
        self.size = size
        self.max_age = max_age
        self.written = 0
        """Rows ever pushed; the next one goes to `written % size`."""
        self._embeddings = torch.zeros(size, embedding, device=device, dtype=dtype)
        self._set_ids = torch.full((size,), -1, device=device)
        self._samples = torch.full((size,), -1, device=device)
        self._steps = torch.zeros(size, device=device, dtype=torch.int64)
        self._drift = torch.zeros(3, device=device, dtype=torch.float64)

    def __len__(self) -> int:
        """Rows that hold something; too old ones count."""
        return min(self.written, self.size)

    def age(self, step: int) -> int:
        """Steps since the oldest row that is held was computed; 0 for an empty bank.

        Looks at a number of the bank, so that a GPU has to be done with all that it was given.

        Args:
            step: Global step that is next.
        """
        if not len(self):
            return 0
        oldest = self.written % self.size if self.written > self.size else 0
        return step - int(self._steps[oldest])

    def push(self, rows: BankRows, *, step: int) -> None:
        """Overwrite the oldest rows; of more rows than fit, the last ones are kept.

        Args:
            rows: Copied, without gradients.
            step: Global step at which the embeddings were computed.
        """
        count = len(rows.embeddings)
        kept = min(count, self.size)
        if kept:
            newest = BankRows(*(part[count - kept :].detach() for part in rows))
            self._compare(newest, step)
            at = self._places(self.written + count - kept, self.written + count)
            self._embeddings[at] = newest.embeddings.to(self._embeddings.dtype)
            self._set_ids[at] = newest.set_ids
            self._samples[at] = newest.samples
            self._steps[at] = step
        self.written += count

    def _places(self, first: int, last: int) -> Int64[Tensor, " rows"]:
        """Where the rows pushed as number `first` up to, not including, `last` lie."""
        return torch.arange(first, last, device=self._set_ids.device) % max(self.size, 1)

    def _compare(self, rows: BankRows, step: int) -> None:
        """Add the drift of the images that are stored, by the newest row of each."""
        embeddings, samples = rows.embeddings, rows.samples
        newest_first = self._places(self.written - self.size, self.written).flip(0)
        in_order, at = self._samples[newest_first].sort(stable=True)
        place = torch.searchsorted(in_order, samples).clamp(max=self.size - 1)
        seen, row = in_order[place] == samples, newest_first[at[place]]
        stored = self._embeddings[row].to(embeddings.dtype)
        moved = (embeddings - stored).norm(dim=1) / embeddings.norm(dim=1).clamp(min=_EPS)
        each = torch.stack([moved, step - self._steps[row], torch.ones_like(moved)], dim=1)
        self._drift += (each * seen[:, None]).sum(0)

    def take_drift(self) -> Drift:
        """Drift of the images pushed since the last call."""
        distance, age, images = self._drift.tolist()
        self._drift.zero_()
        return Drift(distance / max(images, 1), age / max(images, 1), int(images))

    def newest(self, count: int) -> BankRows:
        """The last `count` rows pushed, or as many as there are, oldest first; copies."""
        kept = min(count, len(self))
        at = self._places(self.written - kept, self.written)
        return BankRows(self._embeddings[at], self._set_ids[at], self._samples[at])

    def view(self, step: int) -> BankView:
        """The bank as seen at global step `step`."""
        set_ids = self._set_ids
        if self.max_age:
            set_ids = torch.where(step - self._steps <= self.max_age, set_ids, -1)
        return BankView(self._embeddings, set_ids)

    def state_dict(self) -> dict[str, Any]:
        """Contents, ages and cursor; loads with `torch.load(weights_only=True)`."""
        return {
            "embeddings": self._embeddings,
            "set_ids": self._set_ids,
            "samples": self._samples,
            "steps": self._steps,
            "written": self.written,
            "drift": self._drift,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the tensors are copied.

        Raises:
            CheckpointError: If the saved bank has another size, width or kind of numbers.
        """
        own = {name: value for name, value in self.state_dict().items() if name != "written"}
        for name, tensor in own.items():
            found = _form(state[name]) if name in state else "nothing"
            if found != _form(tensor):
                raise CheckpointError(
                    f"the checkpoint's bank has {name} of shape {found}, this run's has "
                    f"{_form(tensor)}; keep bank.size and model.embedding as they were"
                )
        for name, tensor in own.items():
            tensor.copy_(state[name])
        self.written = int(state["written"])


def _form(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} of {tensor.dtype}"
