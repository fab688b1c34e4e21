"""Makes one batch out of rows: what runs in the loader processes."""

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from retdm.data.batch import Batch
from retdm.data.decode import Decoder
from retdm.data.plan import Part
from retdm.data.source import SampleReader
from retdm.errors import RetdmError


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One batch to be made by a loader process."""

    part: Part
    targets: npt.NDArray[np.bool_]
    crop: tuple[int, int] | None
    """Seed and epoch of the training crops; None for the evaluation's centre crop."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A deliberate error on its way back; raising it over there would bury its message."""

    error: RetdmError


Made = Batch | Failure


class BatchMaker(Dataset[Made]):
    """What runs in a loader process: reads and decodes the images of one request."""

    def __init__(self, reader: SampleReader, decoder: Decoder) -> None:
        self._reader = reader
        self._decoder = decoder

    def __getitem__(self, request: BatchRequest) -> Made:
        try:
            return self._make(request)
        except RetdmError as error:
            return Failure(error)

    def _make(self, request: BatchRequest) -> Batch:
        rows, size = request.part.rows, self._decoder.size
        images = np.empty((len(rows), 3, size, size), dtype=np.uint8)
        # Rows that only fill up repeat others, so each image is read and decoded once.
        distinct, first, inverse = np.unique(rows, return_index=True, return_inverse=True)
        contents = self._reader.read_many(distinct.tolist())
        for row, at, content in zip(distinct.tolist(), first, contents, strict=True):
            crop = (
                self._decoder.centre_crop()
                if request.crop is None
                else self._decoder.training_crop(
                    seed=request.crop[0], epoch=request.crop[1], row=row
                )
            )
            self._decoder.decode(content, crop, into=images[at], where=self._reader.where(row))
        for at in np.flatnonzero(first[inverse] != np.arange(len(rows))):
            images[at] = images[first[inverse[at]]]
        return Batch(
            images=torch.from_numpy(images),
            targets=torch.from_numpy(request.targets),
            indices=torch.from_numpy(rows),
            valid=torch.from_numpy(request.part.valid),
            global_size=request.part.global_size,
        )
