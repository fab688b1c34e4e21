"""What the loader hands to a training or evaluation step."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import torch
from jaxtyping import Bool, Int64, UInt8
from torch import Tensor

from retdm.counts import Counted
from retdm.data.bad import BadSample


@dataclass(frozen=True, slots=True)
class Batch:
    """One rank's part of a global batch.

    All ranks get equally many rows, of one part of the global batch or of several, each as in
    `retdm.data.plan.Part`. Where the global batch does not divide evenly, the surplus
    rows repeat samples of the same batch and are marked invalid: they feed batch
    normalisation, and nothing else may count them. In training, the place of a bad image is
    taken by another sample of the same global batch; in evaluation it is a black image, marked
    invalid.
    """

    images: UInt8[Tensor, "rows 3 height width"]
    targets: Bool[Tensor, "rows labels"]
    indices: Int64[Tensor, " rows"]
    """Row of each sample in the split's label table."""
    valid: Bool[Tensor, " rows"]
    global_size: int
    """Valid rows over all ranks; in evaluation, bad images count here though they are invalid."""
    bad: tuple[BadSample, ...] = ()
    """Images of this part that could not be used."""
    counts: Mapping[Counted, int] = field(default_factory=dict)
    """What the process that made it has counted since its last batch; its receiver merges it."""

    def to(self, device: torch.device) -> "Batch":
        """The same batch on `device`; copies overlap with compute where memory is pinned."""
        return Batch(
            images=self.images.to(device, non_blocking=True),
            targets=self.targets.to(device, non_blocking=True),
            indices=self.indices.to(device, non_blocking=True),
            valid=self.valid.to(device, non_blocking=True),
            global_size=self.global_size,
            bad=self.bad,
            counts=self.counts,
        )

    def pin_memory(self) -> "Batch":
        """Called by the DataLoader when copies to a GPU are to be asynchronous."""
        return Batch(
            images=self.images.pin_memory(),
            targets=self.targets.pin_memory(),
            indices=self.indices.pin_memory(),
            valid=self.valid.pin_memory(),
            global_size=self.global_size,
            bad=self.bad,
            counts=self.counts,
        )


def join(parts: Sequence[Batch]) -> Batch:
    """Parts of one global batch, one behind the other."""
    if len(parts) == 1:
        return parts[0]
    return Batch(
        images=torch.cat([part.images for part in parts]),
        targets=torch.cat([part.targets for part in parts]),
        indices=torch.cat([part.indices for part in parts]),
        valid=torch.cat([part.valid for part in parts]),
        global_size=parts[0].global_size,
        bad=tuple({bad: None for part in parts for bad in part.bad}),
    )
