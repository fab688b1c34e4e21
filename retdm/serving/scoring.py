"""Decodes images in threads and scores them in one, for an event loop that waits for neither."""

import asyncio
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from retdm.predictor import Predictor
from retdm.predictor.ahead import decode_into


class Scoring:
    """A model, which one thread uses, and threads that decode for it."""

    def __init__(self, model: Predictor) -> None:
        self.model = model
        self._decoding = ThreadPoolExecutor(model.threads, thread_name_prefix="retdm-serve-decode")
        self._scoring = ThreadPoolExecutor(1, thread_name_prefix="retdm-serve-score")

    async def decode(self, content: bytes) -> UInt8[Tensor, "3 side side"]:
        """An image file's pixels, as evaluation sees them.

        Raises:
            BadSampleError: If it cannot be decoded.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._decoding, self._pixels, content)

    async def score(
        self, images: Sequence[UInt8[Tensor, "3 side side"]]
    ) -> list[Float32[np.ndarray, " labels"]]:
        """The scores of each image, all of one batch.

        Raises:
            DivergenceError: If they are not finite numbers.
        """
        loop = asyncio.get_running_loop()
        return await loop.run_in_executor(self._scoring, self._scored, images)

    def _pixels(self, content: bytes) -> UInt8[Tensor, "3 side side"]:
        decoder = self.model.decoder
        # The colours of a pixel side by side, as decoders write them: no transposition.
        pixels = np.empty((decoder.size, decoder.size, 3), dtype=np.uint8).transpose(2, 0, 1)
        decode_into(pixels, content, decoder)
        return torch.from_numpy(pixels)

    def _scored(
        self, images: Sequence[UInt8[Tensor, "3 side side"]]
    ) -> list[Float32[np.ndarray, " labels"]]:
        return list(self.model.score(torch.stack(list(images))))
