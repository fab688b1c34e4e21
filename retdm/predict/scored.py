"""Images to scores, batch by batch, of image files or of a split of a shard set."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from jaxtyping import Float32
from numpy import ndarray

from retdm.data.bad import BadSamples
from retdm.data.loader import EvaluationLoader
from retdm.data.split import SplitData
from retdm.predict.images import ImageFile
from retdm.predictor import Predictor
from retdm.predictor.ahead import decode_ahead

_REQUESTS = 16
"""Threads where files come from S3, which wait most of their time."""


@dataclass(frozen=True, slots=True)
class Scored:
    """A batch of images."""

    images: list[str]
    """Names of files, or keys of samples."""
    scores: Float32[ndarray, "images labels"]
    """Of bad images without meaning."""
    bad: dict[int, str]
    """By row: which image it is and why it cannot be used."""


def of_files(
    model: Predictor, files: Sequence[ImageFile], *, batch_size: int, workers: int | None
) -> Iterator[Scored]:
    """Scores of image files.

    Args:
        model: Gives them.
        files: Read and decoded ahead.
        batch_size: Images that go through the network together.
        workers: Threads that read and decode; one for each core by default.

    Raises:
        StorageError: If a file cannot be read.
    """
    remote = any("://" in one.store.url for one in files)
    threads = workers or max(model.threads, _REQUESTS if remote else 1)
    decoded = decode_ahead(
        files, ImageFile.read, model.decoder, batch_size=batch_size, threads=threads
    )
    for batch in decoded:
        names = [one.name for one in batch.items]
        bad = {row: f"{names[row]}: {error}" for row, error in batch.bad.items()}
        yield Scored(names, model.score(batch.images), bad)


def open_split_loader(
    model: Predictor, data: SplitData, *, batch_size: int, workers: int | None
) -> EvaluationLoader:
    """The loader of a split, to be closed; its batches are those of evaluation.

    Args:
        model: Says what images are reduced to.
        data: The split.
        batch_size: Images that go through the network together.
        workers: Processes that decode; the run's `data.loader_workers` by default.
    """
    settings = model.config.data
    if workers is not None:
        settings = settings.model_copy(update={"loader_workers": workers})
    # Not by retdm.train, without which a bundle predicts.
    return EvaluationLoader(
        data,
        settings,
        rank=0,
        world_size=1,
        batch_size=batch_size,
        bad=BadSamples(len(data)),
        pin_memory=model.device.type == "cuda",
    )


def of_split(
    model: Predictor, loader: EvaluationLoader, start: int = 0, stop: int | None = None
) -> Iterator[Scored]:
    """Scores of a split in the order of its table.

    Args:
        model: Gives them.
        loader: From `open_split_loader`.
        start: The first batch.
        stop: The batch to end before; None: there is none.

    Raises:
        ShardError: If a shard is missing.
        StorageError: If the storage cannot be read.
    """
    data = loader.data
    for batch in loader.batches(start, stop):
        keys = [data.table.keys[row] for row in batch.indices.tolist()]
        row_of = {key: row for row, key in enumerate(keys)}
        bad = {
            row_of[one.key]: f"{data.url}/{one.shard}: sample {one.key!r}: {one.reason}"
            for one in batch.bad
        }
        yield Scored(keys, model.score(batch.images), bad)
