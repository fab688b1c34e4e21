"""The images that can stand for a neighbouring label set: the global batch, and the bank.

Shapes: rows = images of this rank, total = rows of all ranks, size = rows of the bank, columns =
total, or total + size with the bank; k = neighbours.
"""

from dataclasses import dataclass

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from retdm import comm
from retdm.bank import BankRows, BankView, LabelSets


@dataclass(frozen=True, slots=True)
class Candidates:
    """Candidate images in an order that is the same on all ranks."""

    live: Float[Tensor, "total embed"]
    """The global batch, in rank order."""
    stored: Float[Tensor, "size embed"] | None
    """The bank: constants."""
    set_ids: Int64[Tensor, " columns"]
    """Label set of each candidate, live ones first; -1 for one that must not be used."""
    samples: Int64[Tensor, " total"]
    """Image of each live one, as its row in the training table; -1 for padding."""

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

    def batch_rows(self) -> BankRows:
        """The global batch without padding and gradients."""
        real = self.samples >= 0
        set_ids = self.set_ids[: len(self.live)]
        return BankRows(self.live.detach()[real], set_ids[real], self.samples[real])


def gather_candidates(
    embeddings: Float[Tensor, "rows embed"],
    samples: Int64[Tensor, " rows"],
    known: LabelSets,
    bank: BankView | None,
    *,
    with_gradient: bool,
) -> Candidates:
    """Gather the batch over ranks, and append the bank. Every rank must call this.

    Args:
        embeddings: This rank's images.
        samples: Their rows in the training table; -1 for padding.
        known: Knows the label set of each.
        bank: What it offers at this step; None: batch only.
        with_gradient: Whether losses on other ranks may send gradients here.
    """
    gather = comm.gather_rows_autograd if with_gradient else comm.gather_rows
    live, samples = gather(embeddings), comm.gather_rows(samples)
    set_ids = known.set_id[samples].where(samples >= 0, -1)
    if bank is None:
        return Candidates(live, None, set_ids, samples)
    return Candidates(live, bank.embeddings, torch.cat([set_ids, bank.set_ids]), samples)
