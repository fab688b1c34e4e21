"""Decodes images by threads, a few batches ahead of who uses them.

Threads suffice: reading, decoding and resampling hold Python's lock for a small part of their
time, and a process would take longer to start than a few hundred images to decode.
"""

from collections import deque
from collections.abc import Callable, Generator, Iterable
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

import numpy as np
import torch
from jaxtyping import UInt8
from torch import Tensor

from retdm.data.decode import Decoder, Pixels
from retdm.errors import BadSampleError
from retdm.predictor.upright import upright

T = TypeVar("T")
_AHEAD = 2
"""Batches in the making behind the one that is wanted."""


@dataclass(frozen=True, slots=True)
class Decoded(Generic[T]):
    """A batch of images, each as evaluation sees it."""

    items: list[T]
    """What they were made of."""
    images: UInt8[Tensor, "rows 3 side side"]
    """Black where an image is bad."""
    bad: dict[int, BadSampleError]
    """By row: why the image cannot be used."""


def decode_ahead(
    items: Iterable[T],
    read: Callable[[T], bytes | Pixels],
    decoder: Decoder,
    *,
    batch_size: int,
    threads: int,
) -> Generator[Decoded[T]]:
    """Batches of `items` in their order, each but the last of `batch_size`.

    Args:
        items: Taken from as they are needed.
        read: Gives the bytes of an item's image file, or its pixels; called in the threads.
        decoder: Its centre crop is taken.
        batch_size: Images in a batch.
        threads: That read and decode.

    Raises:
        Exception: What `read` raises, unless it is a `BadSampleError`.
    """
    rest = iter(items)
    begun: deque[tuple[Decoded[T], list[Future[None]]]] = deque()
    pool = ThreadPoolExecutor(threads, thread_name_prefix="retdm-decode")
    try:
        while batch := list(islice(rest, batch_size)):
            begun.append(_begin(batch, read, decoder, pool))
            if len(begun) > _AHEAD:
                yield _ended(*begun.popleft())
        while begun:
            yield _ended(*begun.popleft())
    finally:
        pool.shutdown(cancel_futures=True)


def _begin(
    items: list[T],
    read: Callable[[T], bytes | Pixels],
    decoder: Decoder,
    pool: ThreadPoolExecutor,
) -> tuple[Decoded[T], list[Future[None]]]:
    shape = (len(items), decoder.size, decoder.size, 3)
    # The colours of a pixel side by side, as decoders write them: no transposition.
    pixels = np.empty(shape, dtype=np.uint8).transpose(0, 3, 1, 2)
    bad = dict[int, BadSampleError]()

    def make(row: int) -> None:
        try:
            decode_into(pixels[row], read(items[row]), decoder)
        except BadSampleError as error:
            bad[row], pixels[row] = error, 0

    making = [pool.submit(make, row) for row in range(len(items))]
    return Decoded(items, torch.from_numpy(pixels), bad), making


def decode_into(into: Pixels, content: bytes | Pixels, decoder: Decoder) -> None:
    """Decode one image, upright, to the centre crop.

    Args:
        into: As `Decoder.decode` takes it.
        content: The bytes of an image file, or its pixels.
        decoder: Its centre crop is taken.

    Raises:
        BadSampleError: If the image cannot be decoded.
    """
    crop = decoder.centre_crop()
    if isinstance(content, bytes):
        content = upright(content)
    if isinstance(content, bytes):
        decoder.decode(content, crop, into=into)
    else:
        decoder.resample(content, crop, into=into)


def _ended(batch: Decoded[T], making: list[Future[None]]) -> Decoded[T]:
    for one in making:
        one.result()
    return batch
