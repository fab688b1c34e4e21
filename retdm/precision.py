"""Products that keep the precision of their operands."""

from collections.abc import Iterator
from contextlib import contextmanager

import torch


@contextmanager
def exact_products(device: torch.device) -> Iterator[None]:
    """A region whose products on `device` have the mantissa of their operands.

    For sums whose order matters, those of nearest neighbours: autocast would leave 8 bits of
    them (bfloat16), and TensorFloat-32, which any part of a program may have switched on, 11 of
    each factor.
    Afterwards both are as they were. TensorFloat-32 is a switch of the whole process: no other
    thread should compute meanwhile.
    """
    matmul = torch.backends.cuda.matmul
    before, matmul.allow_tf32 = matmul.allow_tf32, False
    try:
        with torch.autocast(device.type, enabled=False):
            yield
    finally:
        matmul.allow_tf32 = before
