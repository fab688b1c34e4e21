"""Takes back what a forward pass does to a network besides its gradients."""

import torch
from torch import nn


class BufferCopy:
    """A copy of a module's buffers: batch statistics and centres, which every forward pass moves.

    They are small beside the weights (EfficientNet-Lite0: 42,000 numbers of 4.6 million).
    """

    def __init__(self, module: nn.Module) -> None:
        self._live = list(module.buffers())
        self._kept = [torch.empty_like(buffer) for buffer in self._live]

    @torch.no_grad()
    def take(self) -> None:
        """Copy the buffers as they are now."""
        torch._foreach_copy_(self._kept, self._live)

    @torch.no_grad()
    def give_back(self) -> None:
        """Make the buffers what they were when they were copied."""
        torch._foreach_copy_(self._live, self._kept)
