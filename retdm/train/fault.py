"""What of a step was not finite: which loss parts, on which ranks, from which images.

Images are looked for only after something was not finite, so that may take as long as a few
steps. It is done in evaluation mode, because batch statistics would spread one image's numbers
over all. First the embeddings of all images at once; only if they are in order on all ranks, every
rank goes through its images one by one, with loss and gradient. (In that order, because the metric
loss shows a rank the images of the others: one without a finite embedding would make theirs look
wrong as well.)
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import torch
from torch import Tensor, nn

from retdm import comm
from retdm.data.batch import Batch
from retdm.methods import Method, MicroBatches, StepContext
from retdm.methods.base import evaluating

GRADIENT = "gradient_norm"
"""Name, among the loss parts, of the norm of all gradients before clipping."""


@dataclass(frozen=True, slots=True)
class Fault:
    """What was not finite in a step; the same on all ranks."""

    step: int
    """Steps of the run so far, this one included."""
    wrong: str
    """Names of loss parts, what they are, and on which ranks."""
    images: int
    """Of the global batch."""
    suspects: list[int]
    """Images that are not in order alone, as rows of the training table, in order."""


def all_finite(values: list[Tensor]) -> bool:
    """Whether all of these numbers are finite; the device is waited for once."""
    return bool(torch.stack([value.float() for value in values]).isfinite().all())


def wrong_parts(parts: Mapping[str, Tensor]) -> str:
    """Say which parts are not finite on which ranks; every rank calls this with its shares.

    Example:
        >>> import torch
        >>> wrong_parts({"bce": torch.tensor(torch.nan), "total": torch.tensor(torch.nan)})
        'bce is nan'
    """
    own = {name: str(value.item()) for name, value in parts.items() if not value.isfinite()}
    told = comm.gather_objects(own)
    phrases = []
    for name in parts:
        for value in sorted({one[name] for one in told if name in one}):
            ranks = [str(rank) for rank, one in enumerate(told) if one.get(name) == value]
            everywhere = len(ranks) == len(told)
            where = "" if everywhere else f" on rank{'s' * (len(ranks) > 1)} {', '.join(ranks)}"
            phrases.append((name, f"is {value}{where}"))
    # The total says nothing that its parts do not.
    if {name for name, _ in phrases} - {"total", GRADIENT}:
        phrases = [(name, what) for name, what in phrases if name != "total"]
    return ", ".join(f"{name} {what}" for name, what in phrases)


def find_suspects(method: Method, batch: Batch, context: StepContext) -> list[int]:
    """Rows of the training table, in order, of all ranks; every rank calls this.

    The method's buffers may be changed by it.
    """
    context = replace(context, micro_batches=MicroBatches())
    recurrent = [
        part for part in method.modules() if isinstance(part, nn.RNNBase) and part.training
    ]
    with evaluating(method):
        for part in recurrent:
            # cuDNN has no backward pass for others; without dropout both modes are alike.
            part.training = True
        with torch.no_grad():
            wrong = ~method.embed(batch.images).isfinite().all(1)
        (found,) = comm.any_rank([bool(wrong.any())], wrong.device)
        if not found:
            alone = [_is_finite(method, _one(batch, row), context) for row in range(len(wrong))]
            wrong = ~torch.tensor(alone, device=wrong.device)
    rows = batch.indices[wrong & batch.valid].tolist()
    return sorted({row for part in comm.gather_objects(rows) for row in part})


def _one(batch: Batch, row: int) -> Batch:
    part = slice(row, row + 1)
    return Batch(
        batch.images[part],
        batch.targets[part],
        batch.indices[part],
        batch.valid[part],
        global_size=1,
    )


def _is_finite(method: Method, one: Batch, context: StepContext) -> bool:
    """Whether loss parts and gradient of a batch are; leaves no gradient behind."""
    output = method(one, context)
    learning = [parameter for parameter in method.parameters() if parameter.requires_grad]
    # Not backward(): that would also run what DDP does with gradients.
    gradients = torch.autograd.grad(output.total, learning, allow_unused=True)
    norm = nn.utils.get_total_norm([one for one in gradients if one is not None])
    return all_finite([*output.parts.values(), norm])
