"""Collectives used by retdm; each is the identity outside a process group.

Every rank must make the same calls in the same order. Knows nothing of Ray: whoever starts the
processes sets up the default group.
"""

from collections.abc import Sequence
from typing import Any

import torch
import torch.distributed as dist
from jaxtyping import Shaped
from torch import Tensor
from torch.distributed import _functional_collectives as functional


def _grouped() -> bool:
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


def rank() -> int:
    """This process's number in the group, from 0."""
    return dist.get_rank() if _grouped() else 0


def world_size() -> int:
    """Processes in the group, at least 1."""
    return dist.get_world_size() if _grouped() else 1


def gather_rows(rows: Shaped[Tensor, "local ..."]) -> Shaped[Tensor, "total ..."]:
    """Concatenate every rank's rows in rank order, without gradients.

    All ranks must hold equally many rows; all get the same tensor.
    """
    rows = rows.detach()
    if not _grouped():
        return rows
    # Not every backend moves booleans; as bytes they always travel.
    sent = rows.contiguous().view(torch.uint8) if rows.dtype == torch.bool else rows.contiguous()
    out = sent.new_empty((world_size() * len(sent), *sent.shape[1:]))
    dist.all_gather_single(out, sent)
    return out.view(rows.dtype)


def gather_rows_autograd(rows: Shaped[Tensor, "local ..."]) -> Shaped[Tensor, "total ..."]:
    """Concatenate every rank's rows in rank order; gradients flow back to the rank they are of.

    The backward pass is itself a collective: it sums over ranks what each rank's loss says
    about a row. All ranks must hold equally many rows and must all run backward through the
    result, even where their own loss ignores it.
    """
    if not _grouped():
        return rows
    # The public names for this are deprecated one after the other; this one is their successor.
    group = dist.group.WORLD
    assert group is not None
    gathered = functional.all_gather_single_autograd(rows.contiguous(), 0, group)
    return _Waited.apply(gathered)  # type: ignore[no-any-return]


class _Waited(torch.autograd.Function):
    """Turns an asynchronous result into a plain tensor, so that no later code meets the other."""

    @staticmethod
    def forward(ctx: Any, gathered: Tensor) -> Tensor:
        if isinstance(gathered, functional.AsyncCollectiveTensor):
            return gathered.wait()
        return gathered.clone()

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> Tensor:
        return grads[0]


def all_sum(values: Shaped[Tensor, "..."]) -> Shaped[Tensor, "..."]:
    """Sum of `values` over ranks, element by element; the argument is left as it is."""
    values = values.detach()
    if not _grouped():
        return values
    out = values.clone()
    dist.all_reduce(out)
    return out


def any_rank(flags: Sequence[bool], device: torch.device | None = None) -> tuple[bool, ...]:
    """For each flag, whether it is set on some rank; in one exchange.

    Args:
        flags: Equally many on all ranks.
        device: Where the exchange takes place; the CPU by default.
    """
    if not _grouped():
        return tuple(flags)
    counts = all_sum(torch.tensor(flags, dtype=torch.int32, device=device))
    return tuple(counts.bool().tolist())


def broadcast_object(value: Any) -> Any:
    """What rank 0 holds, on every rank; a plain value that can be pickled."""
    if not _grouped():
        return value
    box = [value]
    dist.broadcast_object_list(box, src=0)
    return box[0]


def gather_objects(value: Any) -> list[Any]:
    """What every rank holds, in rank order, on every rank; plain values that can be pickled."""
    if not _grouped():
        return [value]
    values: list[Any] = [None] * world_size()
    dist.all_gather_object(values, value)
    return values


def barrier() -> None:
    """Wait until every rank is here."""
    if _grouped():
        dist.barrier()
