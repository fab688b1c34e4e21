"""How the images of a rank go through the image net: in micro-batches, each as if it were alone.

A global batch is cut into as many micro-batches as the run says, whatever the number of ranks that
share them. Each has dropout and batch statistics of its own, and running statistics over the
steps, which the end of an epoch averages. So what the net learns depends on the number of
micro-batches and not on that of ranks, but for the order in which floating-point sums are taken.

A rank with several of them holds the activations of one at a time, and computes them a second
time for the backward pass. Losses see the whole batch at once, as ever.
"""

import hashlib

import torch
from jaxtyping import Float64, UInt8
from torch import Tensor, nn
from torch.utils.checkpoint import checkpoint

from retdm import comm
from retdm.data.plan import parts_of
from retdm.errors import CheckpointError


class MicroBatches:
    """The micro-batches of this rank, and their running statistics."""

    def __init__(self, total: int | None = None) -> None:
        """Take this rank's share of `total` micro-batches; by default each rank has one.

        Args:
            total: Of a global batch.
        """
        world_size = comm.world_size()
        self.total = total or world_size
        own = parts_of(comm.rank(), world_size=world_size, parts=self.total)
        self.own = own
        self._real = sum(number < self.total for number in own)
        self._rows: Float64[Tensor, "own numbers"] | None = None
        """Statistics after each; a single one's are those in the net."""

    def embed(
        self, net: nn.Module, images: UInt8[Tensor, "rows 3 side side"], *, seed: int, step: int
    ) -> Tensor:
        """What `net` makes of this rank's images, in training mode or not.

        Args:
            net: From images to embeddings.
            images: As many for each micro-batch, one behind the other.
            seed: With `step` and the number of a micro-batch, it seeds dropout.
            step: Global step.
        """
        if len(self.own) == 1:
            torch.manual_seed(_seed(seed, step, self.own[0]))
            return _call(net, images)
        learns = net.training and torch.is_grad_enabled()
        embedded = []
        for at, (number, some) in enumerate(
            zip(self.own, images.chunk(len(self.own)), strict=True)
        ):
            if net.training:
                _fill(net, self._statistics(net)[at])
            torch.manual_seed(_seed(seed, step, number))
            embedded.append(
                checkpoint(_call, net, some, use_reentrant=False) if learns else _call(net, some)
            )
            if net.training:
                self._statistics(net)[at] = _flat(net)
        return torch.cat(embedded)

    @torch.no_grad()
    def average(self, net: nn.Module) -> None:
        """Replace all running statistics by their mean; every rank calls this.

        Integer buffers, such as counts of batches, are equal already.
        """
        mean = comm.all_sum(self._statistics(net)[: self._real].sum(0)) / self.total
        _fill(net, mean)
        if self._rows is not None:
            self._rows[:] = mean

    @torch.no_grad()
    def state(self, net: nn.Module) -> Float64[Tensor, "total numbers"]:
        """The running statistics of all micro-batches, which differ until they are averaged."""
        return comm.gather_rows(self._statistics(net).clone())[: self.total]

    @torch.no_grad()
    def load_state(self, net: nn.Module, rows: Float64[Tensor, "total numbers"]) -> None:
        """Give each micro-batch back what `state` took; the mean if there are others now.

        Raises:
            CheckpointError: If they are of another net.
        """
        numbers = len(_flat(net))
        if rows.shape[1] != numbers:
            raise CheckpointError(
                f"the checkpoint has {rows.shape[1]} running statistics, this run's image net has "
                f"{numbers}; use an earlier checkpoint, or another --run-name"
            )
        if len(rows) != self.total:
            rows = rows.mean(0).expand(self.total, -1)
        own = rows[[min(number, self.total - 1) for number in self.own]]
        _fill(net, own[0])
        if len(self.own) > 1:
            self._rows = own.clone()

    def statistics(self) -> Tensor | None:
        """A copy of what they are beside those in the net, for `put_back`."""
        return None if self._rows is None else self._rows.clone()

    def put_back(self, statistics: Tensor | None) -> None:
        """Make them what they were; those in the net are the caller's to put back."""
        self._rows = statistics

    @torch.no_grad()
    def _statistics(self, net: nn.Module) -> Float64[Tensor, "own numbers"]:
        if len(self.own) == 1:
            return _flat(net)[None]
        if self._rows is None:
            self._rows = _flat(net).repeat(len(self.own), 1)
        return self._rows


def _call(net: nn.Module, images: Tensor) -> Tensor:
    embedded: Tensor = net(images)
    return embedded


def _seed(seed: int, step: int, number: int) -> int:
    """A function of the position, so that a resumed run repeats it."""
    digest = hashlib.sha256(f"{seed}/{step}/{number}".encode()).digest()
    return int.from_bytes(digest[:7], "big")


def _floating(net: nn.Module) -> list[Tensor]:
    return [buffer for buffer in net.buffers() if buffer.is_floating_point()]


@torch.no_grad()
def _flat(net: nn.Module) -> Float64[Tensor, " numbers"]:
    """Wide enough that float32 comes back as it was."""
    parts = [buffer.flatten().double() for buffer in _floating(net)]
    return torch.cat(parts) if parts else torch.zeros(0, dtype=torch.float64)


@torch.no_grad()
def _fill(net: nn.Module, flat: Float64[Tensor, " numbers"]) -> None:
    buffers = _floating(net)
    values = torch.split(flat, [buffer.numel() for buffer in buffers])
    for buffer, value in zip(buffers, values, strict=True):
        buffer.copy_(value.view_as(buffer))
