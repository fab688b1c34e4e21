"""A trained model that takes images as they come and gives labels, scores or embeddings."""

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import torch
from jaxtyping import Float32, UInt8
from torch import Tensor

from retdm.config import Config
from retdm.data.decode import Decoder
from retdm.errors import BadSampleError, ConfigError, DivergenceError
from retdm.evaluation.fitted import Thresholds
from retdm.methods import Method
from retdm.methods.base import evaluating
from retdm.predictor.ahead import decode_ahead
from retdm.predictor.labelling import choose, names, predictions
from retdm.predictor.pictures import Picture, content_of, listed, name_of


@dataclass(frozen=True)
class Origin:
    """Where a model comes from."""

    url: str
    """It was loaded from there."""
    run: str
    """Name of the run."""
    checkpoint: str
    data_digest: str
    """Of the shard set it was trained on."""


@dataclass(frozen=True, eq=False)
class Predictor:
    """What `retdm.load` gives; one thread at a time may use it.

    Images are seen as in the run's own evaluation: one centre crop, of `data.image_size` pixels;
    but turned upright by their EXIF orientation, as `[resize]` turns photos that are packed.
    """

    config: Config
    """The run's settings."""
    method: Method
    """The network, in evaluation mode."""
    labels: tuple[str, ...]
    """In the order of the scores' columns."""
    fitted: Thresholds | None
    """One threshold for each label, fitted on the validation split; None without a result."""
    origin: Origin
    threads: int = field(default_factory=lambda: len(os.sched_getaffinity(0)))
    """That read and decode images."""

    @cached_property
    def decoder(self) -> Decoder:
        """From image files to the network's pixels."""
        data = self.config.data
        return Decoder.of(image_size=data.image_size, resize=data.resize, augment="none")

    @cached_property
    def device(self) -> torch.device:
        """Where the network is."""
        return next(self.method.parts["image"].buffers()).device

    @cached_property
    def digest(self) -> str:
        """SHA-256 over weights, labels and what images are reduced to: a model is known by it."""
        sha = hashlib.sha256(repr((self.labels, self.decoder)).encode())
        for name, tensor in self.method.state_dict().items():
            sha.update(f"{name} {tensor.dtype} {tuple(tensor.shape)}".encode())
            sha.update(tensor.detach().cpu().contiguous().view(-1).numpy().data)
        return sha.hexdigest()

    def thresholds(self, which: str | float | None = None) -> Thresholds:
        """The threshold of each label.

        Args:
            which: "fitted", "fixed" (the run's `run.threshold`), or a number for all; by default
                fitted ones if the model has them, else the fixed one.

        Raises:
            ConfigError: If there are no fitted ones, or the number is not in [0, 1].
        """
        return choose(
            self.fitted,
            fixed=self.config.run.threshold,
            labels=len(self.labels),
            which=which,
        )

    def scores(
        self, images: Picture | Iterable[Picture], *, batch_size: int | None = None
    ) -> Float32[np.ndarray, "images labels"]:
        """The probability of each label.

        Args:
            images: One or several: paths, `s3://` URLs, bytes of image files, PIL images, or
                uint8 arrays of shape (height, width, 3). Of PIL images and arrays large
                photos can have pixels that differ in the last bits from those of their files.
            batch_size: Images that go through the network together; the run's by default.

        Raises:
            BadSampleError: If an image cannot be decoded; says which.
            DivergenceError: If the network's scores are not finite numbers.
            StorageError: If a file cannot be read.
        """
        parts = [self.score(batch) for batch in self._batches(images, batch_size)]
        return np.concatenate(parts) if parts else np.zeros((0, len(self.labels)), np.float32)

    def predict(
        self,
        images: Picture | Iterable[Picture],
        *,
        threshold: str | float | None = None,
        top: int | None = None,
        batch_size: int | None = None,
    ) -> list[list[str]]:
        """The labels of each image, those of the highest scores first.

        Args:
            images: As in `scores`.
            threshold: See `thresholds`.
            top: Give so many labels, the best, instead of those that reach their threshold.
            batch_size: As in `scores`.
        """
        thresholds = self.thresholds(threshold)
        if top is not None and top < 1:
            raise ConfigError(f"top is {top}; give 1 or more labels for each image")
        scores = self.scores(images, batch_size=batch_size)
        return names(scores, predictions(scores, thresholds, top=top), self.labels)

    def embed(
        self, images: Picture | Iterable[Picture], *, batch_size: int | None = None
    ) -> Float32[np.ndarray, "images embed"]:
        """The image embeddings f, eq. (2); of `lmmo-knn` and `mlspl` the frozen features.

        Args:
            images: As in `scores`.
            batch_size: As in `scores`.
        """
        parts = [self.embed_pixels(batch) for batch in self._batches(images, batch_size)]
        return np.concatenate(parts) if parts else self._nothing()

    def score(
        self, images: UInt8[Tensor, "rows 3 side side"]
    ) -> Float32[np.ndarray, "rows labels"]:
        """As `scores` for one batch of decoded images."""
        values = self.method.scores(images.to(self.device, non_blocking=True)).cpu().numpy()
        return self._finite(values, "scores")

    def embed_pixels(
        self, images: UInt8[Tensor, "rows 3 side side"]
    ) -> Float32[np.ndarray, "rows embed"]:
        """As `embed` for one batch of decoded images."""
        with evaluating(self.method), torch.inference_mode():
            embedded = self.method.embed(images.to(self.device, non_blocking=True))
        return self._finite(embedded.float().cpu().numpy(), "embeddings")

    def _nothing(self) -> Float32[np.ndarray, "0 embed"]:
        side = self.config.data.image_size
        return self.embed_pixels(torch.zeros((1, 3, side, side), dtype=torch.uint8))[:0]

    def _finite(
        self, values: Float32[np.ndarray, "rows columns"], what: str
    ) -> Float32[np.ndarray, "rows columns"]:
        if not np.isfinite(values).all():
            raise DivergenceError(
                f"{self.origin.url}: the network's {what} are not finite numbers; use another "
                "checkpoint, or train the run again with a smaller optimizer.lr"
            )
        return values

    def _batches(
        self, images: Picture | Iterable[Picture], batch_size: int | None
    ) -> Iterator[UInt8[Tensor, "rows 3 side side"]]:
        size = self.config.data.batch_size if batch_size is None else batch_size
        if size < 1:
            raise ConfigError(f"batch_size is {size}; give 1 or more")
        pictures = listed(images)
        decoded = decode_ahead(
            pictures, content_of, self.decoder, batch_size=size, threads=self.threads
        )
        begin = 0
        # Closed, or its threads would live as long as the traceback of an error does.
        with closing(decoded):
            for batch in decoded:
                for row, error in sorted(batch.bad.items()):
                    where = name_of(batch.items[row], begin + row)
                    raise BadSampleError(f"{where}: {error}")
                begin += len(batch.items)
                yield batch.images
