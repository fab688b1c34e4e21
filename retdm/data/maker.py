"""Makes one batch out of rows: what runs in the loader processes.

An image that cannot be used is replaced in training by the sample that follows it in the global
batch, round the batch. That depends on the order alone, so every number of workers puts the same
sample in its place, and the number of batches and of rows in them stays what it was.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import torch
from torch.utils.data import Dataset

from retdm.counts import COUNTS
from retdm.data.bad import BadSample
from retdm.data.batch import Batch, join
from retdm.data.decode import Crop, Decoder, Pixels
from retdm.data.order import Rows
from retdm.data.plan import Part
from retdm.data.source import SampleReader
from retdm.errors import BadSampleError, RetdmError

Targets = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class PartRequest:
    """A part of a batch that is to be made."""

    part: Part
    targets: Targets
    """Of the part's rows."""
    spare_targets: Targets
    """Of the rows that may stand in for bad images."""


@dataclass(frozen=True, slots=True)
class BatchRequest:
    """One rank's batch, to be made by a loader process."""

    parts: Sequence[PartRequest]
    """One behind the other."""
    crop: tuple[int, int] | None
    """Seed and epoch of the training crops; None for the evaluation's centre crop."""
    substitute: bool
    """Whether a bad image is replaced (training) or left out (evaluation)."""


@dataclass(frozen=True, slots=True)
class Failure:
    """A deliberate error on its way back; raising it over there would bury its message."""

    error: RetdmError


Made = Batch | Failure


class BatchMaker(Dataset[Made]):
    """What runs in a loader process: reads and decodes the images of one request."""

    def __init__(self, reader: SampleReader, decoder: Decoder, *, split: str) -> None:
        self._reader = reader
        self._decoder = decoder
        self._split = split

    def __getitem__(self, request: BatchRequest) -> Made:
        try:
            made = join([self._make(part, request) for part in request.parts])
            return replace(made, counts=COUNTS.take())
        except RetdmError as error:
            return Failure(error)

    def _make(self, wanted: PartRequest, request: BatchRequest) -> Batch:
        rows, size = wanted.part.rows.copy(), self._decoder.size
        targets, valid = wanted.targets, wanted.part.valid
        # The colours of a pixel side by side, as decoders write them: no transposition.
        images = np.empty((len(rows), size, size, 3), dtype=np.uint8).transpose(0, 3, 1, 2)
        # Rows that only fill up repeat others, so each image is read and decoded once.
        distinct, first = np.unique(rows, return_index=True)
        errors: dict[int, BadSampleError] = {}
        # All before the first is decoded: while decoding, the processor's caches forget this.
        contents = self._reader.read_each(distinct.tolist())
        crops = [self._crop(row, request) for row in distinct.tolist()]
        for row, at, content, crop in zip(
            distinct.tolist(), first.tolist(), contents, crops, strict=True
        ):
            error = self._decode(row, content, crop, into=images[at])
            if error is not None:
                errors[row], images[at] = error, 0
        place = dict(zip(distinct.tolist(), first.tolist(), strict=True))
        for at, row in enumerate(rows.tolist()):
            if place[row] != at:
                images[at] = images[place[row]]
        if errors and request.substitute:
            targets = targets.copy()
            self._substitute(wanted, request, errors, rows, images, targets)
        elif errors:
            valid = valid & ~np.isin(rows, list(errors))
        return Batch(
            images=torch.from_numpy(images),
            targets=torch.from_numpy(targets),
            indices=torch.from_numpy(rows),
            valid=torch.from_numpy(valid),
            global_size=wanted.part.global_size,
            bad=tuple(self._record(row, error) for row, error in errors.items()),
        )

    def _crop(self, row: int, request: BatchRequest) -> Crop:
        if request.crop is None:
            return self._decoder.centre_crop()
        seed, epoch = request.crop
        return self._decoder.training_crop(seed=seed, epoch=epoch, row=row)

    def _decode(
        self, row: int, content: bytes | BadSampleError, crop: Crop, *, into: Pixels
    ) -> BadSampleError | None:
        """Write the pixels of a sample; returns what is wrong with it, if anything is."""
        if isinstance(content, BadSampleError):
            return content
        try:
            self._decoder.decode(content, crop, into=into)
        except BadSampleError as error:
            return BadSampleError(f"{self._reader.where(row)}: {error}, and rebuild the shard set")
        return None

    def _substitute(
        self,
        wanted: PartRequest,
        request: BatchRequest,
        errors: dict[int, BadSampleError],
        rows: Rows,
        images: Pixels,
        targets: Targets,
    ) -> None:
        """Put the next good sample of the global batch in the place of every bad one."""
        sequence = np.concatenate([wanted.part.rows, wanted.part.spare])
        labels = np.concatenate([wanted.targets, wanted.spare_targets])
        tried = dict(errors)
        for at in np.flatnonzero(np.isin(wanted.part.rows, list(errors))):
            # As many tries from every place, wherever the batch is cut between the ranks.
            for candidate in range(at + 1, at + 1 + len(wanted.part.spare)):
                row = int(sequence[candidate])
                if row in tried:
                    continue
                (content,) = self._reader.read_each([row])
                error = self._decode(row, content, self._crop(row, request), into=images[at])
                if error is None:
                    rows[at], targets[at] = row, labels[candidate]
                    break
                tried[row] = error
            else:
                raise errors[int(wanted.part.rows[at])]
        errors.update(tried)

    def _record(self, row: int, error: BadSampleError) -> BadSample:
        where = self._reader.where(row)
        reason = str(error).removeprefix(f"{where}: ")
        return BadSample(
            self._split, self._reader.shard_of(row).name, self._reader.keys[row], reason
        )
