"""A small world for tests of single methods: a linear image net, a label table, one batch."""

import torch
from torch import nn

from retdm.data.batch import Batch

LABELS, WIDTH, SAMPLES = 5, 6, 30


class Pixels(nn.Module):
    """Embeds images of 2 x 2 pixels by one layer, in whatever precision it has."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, WIDTH)

    def forward(self, images):
        return self.linear(images.flatten(1).to(self.linear.weight.dtype) / 255)


def table():
    """The targets of all training samples."""
    return torch.rand(SAMPLES, LABELS, generator=torch.Generator().manual_seed(3)) < 0.4


def batch(rows=8, invalid=2):
    """Samples of the table, the last ones of them padding."""
    indices = torch.arange(rows) * 3 % SAMPLES
    images = torch.randint(
        0, 256, (rows, 3, 2, 2), dtype=torch.uint8, generator=torch.Generator().manual_seed(4)
    )
    valid = torch.arange(rows) < rows - invalid
    return Batch(images, table()[indices], indices, valid, rows - invalid)
