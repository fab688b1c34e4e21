"""The distinct label sets of a training table.

Neighbours are label sets, not images, so each set is stored once and each sample knows the number
of its own.
"""

import copy

import numpy as np
import torch
from jaxtyping import Bool, Int64
from torch import Tensor


class LabelSets:
    """Distinct rows of a multi-hot table, in a fixed order that depends on the table only.

    Attributes:
        targets: The distinct rows, bool (sets, labels).
        set_id: For each sample, the row of its label set in `targets`, int64 (samples).
        label_counts: Samples with each label, int64 (labels).

    Example:
        >>> sets = LabelSets(torch.tensor([[True, False], [False, True], [True, False]]))
        >>> len(sets), sets.set_id.tolist()
        (2, [1, 0, 1])
    """

    targets: Bool[Tensor, "sets labels"]
    set_id: Int64[Tensor, " samples"]
    label_counts: Int64[Tensor, " labels"]

    def __init__(self, targets: Bool[Tensor, "samples labels"]) -> None:
        """Number the label sets of `targets`, one row for each sample of the training split.

        Raises:
            ValueError: If there are no samples.
        """
        if len(targets) == 0:
            raise ValueError("LabelSets needs at least one sample, got an empty table")
        # Packed rows compare as short byte strings: far faster than rows of columns.
        packed = np.packbits(targets.cpu().numpy(), axis=1)
        rows = np.ascontiguousarray(packed).view(np.dtype((np.void, packed.shape[1])))[:, 0]
        _, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        self.targets = targets[torch.from_numpy(first).to(targets.device)]
        self.set_id = torch.from_numpy(inverse.astype(np.int64)).to(targets.device)
        self.label_counts = targets.sum(0)

    def __len__(self) -> int:
        """Number of distinct label sets, the empty one included if it occurs."""
        return len(self.targets)

    def to(self, device: torch.device | str) -> "LabelSets":
        """The same sets with their tensors on `device`."""
        moved = copy.copy(self)
        moved.targets = self.targets.to(device)
        moved.set_id = self.set_id.to(device)
        moved.label_counts = self.label_counts.to(device)
        return moved
