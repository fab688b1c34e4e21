"""Which images are in which part of an output.

Parts are whole batches, the same ones that a single process makes of all the images: so each image
goes through the network in the same company, and its scores are the same to the bit, on the same
kind of device and versions of torch and retdm.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, slots=True)
class Part:
    """The images from `first` to `last` - 1."""

    number: int
    first: int
    last: int

    def __len__(self) -> int:
        """Number of images."""
        return self.last - self.first


def cut_files(images: int, *, part_size: int, batch_size: int) -> list[Part]:
    """Parts of `part_size` images, rounded up to whole batches; the last may be short.

    Example:
        >>> [(part.first, part.last) for part in cut_files(10, part_size=5, batch_size=2)]
        [(0, 6), (6, 10)]
    """
    size = _whole(part_size, batch_size)
    return _parts([*range(size, images, size), images])


def cut_split(shard_sizes: Sequence[int], *, part_size: int, batch_size: int) -> list[Part]:
    """Parts of whole shards, the fewest with `part_size` images, up to the next whole batch.

    So a shard is read by one process, but for less than a batch of images at its beginning.

    Args:
        shard_sizes: Images of each shard.
        part_size: Least images of all parts but the last.
        batch_size: Images that go through the network together.

    Example:
        >>> [len(part) for part in cut_split([5, 5, 5, 5], part_size=8, batch_size=4)]
        [12, 8]
    """
    images = sum(shard_sizes)
    ends: list[int] = []
    for end in np.cumsum(shard_sizes).tolist():
        if end - (ends[-1] if ends else 0) >= part_size:
            ends.append(min(_whole(end, batch_size), images))
    if not ends or ends[-1] < images:
        ends.append(images)
    return _parts(ends)


def _whole(images: int, batch_size: int) -> int:
    return -(-images // batch_size) * batch_size


def _parts(ends: Sequence[int]) -> list[Part]:
    firsts = [0, *ends[:-1]]
    return [
        Part(number, first, last)
        for number, (first, last) in enumerate(zip(firsts, ends, strict=True))
    ]
