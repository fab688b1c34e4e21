"""The cross-batch memory: the newest image embeddings, their label sets and their age.

Fed with gathered rows (`retdm.comm.gather_rows`) every rank holds the same bank. It is not a
module, because DDP would send the buffers of a module around before every step; its
`state_dict` goes into the checkpoint, cursor and all, so a resumed run continues exactly.
"""

from dataclasses import dataclass
from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retdm.errors import CheckpointError


@dataclass(frozen=True, slots=True)
class BankView:
    """What the bank offers at one step, in storage order; constants, not to be written to."""

    embeddings: Float[Tensor, "size embed"]
    set_ids: Int64[Tensor, " size"]
    """Label set of each row; -1 where the row is empty or too old."""


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
        self._steps = torch.zeros(size, device=device, dtype=torch.int64)

    def __len__(self) -> int:
        """Rows that hold something; too old ones count."""
        return min(self.written, self.size)

    @torch.no_grad()
    def push(
        self,
        embeddings: Float[Tensor, "rows embed"],
        set_ids: Int64[Tensor, " rows"],
        *,
        step: int,
    ) -> None:
        """Overwrite the oldest rows; of more rows than fit, the last ones are kept.

        Args:
            embeddings: One row for each image; copied, without gradients.
            set_ids: Label set number of each image, 0 or more.
            step: Global step at which the embeddings were computed.
        """
        rows = len(embeddings)
        kept = min(rows, self.size)
        if kept:
            at = torch.arange(self.written + rows - kept, self.written + rows) % self.size
            at = at.to(self._set_ids.device)
            self._embeddings[at] = embeddings[rows - kept :].detach().to(self._embeddings.dtype)
            self._set_ids[at] = set_ids[rows - kept :]
            self._steps[at] = step
        self.written += rows

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
            "steps": self._steps,
            "written": self.written,
        }

    def load_state_dict(self, state: dict[str, Any]) -> None:
        """Restore what `state_dict` gave; the tensors are copied.

        Raises:
            CheckpointError: If the saved bank has another size or width.
        """
        saved = {name: value for name, value in state.items() if isinstance(value, Tensor)}
        own = {"embeddings": self._embeddings, "set_ids": self._set_ids, "steps": self._steps}
        for name, tensor in own.items():
            found = tuple(saved[name].shape) if name in saved else "nothing"
            if found != tuple(tensor.shape):
                raise CheckpointError(
                    f"the checkpoint's bank has {name} of shape {found}, this run's has "
                    f"{tuple(tensor.shape)}; keep bank.size and model.embedding as they were"
                )
        for name, tensor in own.items():
            tensor.copy_(saved[name])
        self.written = int(state["written"])
