"""The images that can stand for a neighbouring label set: the global batch, and the bank.

Shapes: rows = images of this rank, total = rows of all ranks, size = rows of the bank, columns =
total, or total + size with the bank; k = neighbours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from retdm import comm
from retdm.bank import BankView


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate images in an order that is the same on all ranks."""

    live: Float[Tensor, "total embed"]
    """The global batch, in rank order."""
    stored: Float[Tensor, "size embed"] | None
    """The bank: constants."""
    set_ids: Int64[Tensor, " columns"]
    """Label set of each candidate, live ones first; -1 for one that must not be used."""

    def present(self, sets: int) -> Bool[Tensor, " sets"]:
        """Which of `sets` label sets have a candidate."""
        # The unusable ones, -1, fall into a last place that is cut off.
        seen = torch.zeros(sets + 1, dtype=torch.bool, device=self.set_ids.device)
        seen[self.set_ids] = True
        return seen[:-1]

    def pick(self, columns: Int64[Tensor, "rows k"]) -> Float[Tensor, "rows k embed"]:
        """Embeddings of the given columns; gradients flow to live ones on any rank."""
        last = len(self.live) - 1
        picked = self.live[columns.clamp(max=last)]
        if self.stored is None or len(self.stored) == 0:
            return picked
        kept = self.stored[(columns - last - 1).clamp(min=0)].to(picked.dtype)
        return torch.where((columns <= last)[..., None], picked, kept)

    def constants(self) -> Float[Tensor, "columns embed"]:
        """Embeddings of all columns, without gradients."""
        if self.stored is None:
            return self.live.detach()
        return torch.cat([self.live.detach(), self.stored.to(self.live.dtype)])

    def batch_rows(self) -> tuple[Float[Tensor, "valid embed"], Int64[Tensor, " valid"]]:
        """The global batch without padding and gradients, for the bank."""
        set_ids = self.set_ids[: len(self.live)]
        real = set_ids >= 0
        return self.live.detach()[real], set_ids[real]


def gather_candidates(
    embeddings: Float[Tensor, "rows embed"],
    set_ids: Int64[Tensor, " rows"],
    bank: BankView | None,
    *,
    with_gradient: bool,
) -> Candidates:
    """Gather the batch over ranks, and append the bank. Every rank must call this.

    Args:
        embeddings: This rank's images.
        set_ids: Their label sets; -1 for padding.
        bank: What it offers at this step; None: batch only.
        with_gradient: Whether losses on other ranks may send gradients here.
    """
    gather = comm.gather_rows_autograd if with_gradient else comm.gather_rows
    live, live_sets = gather(embeddings), comm.gather_rows(set_ids)
    if bank is None:
        return Candidates(live, None, live_sets)
    return Candidates(live, bank.embeddings, torch.cat([live_sets, bank.set_ids]))
