"""Images in the embedding space of a model, and the file that keeps them."""

import io
from dataclasses import dataclass
from typing import Any

import numpy as np
from jaxtyping import Bool, Float32
from numpy import ndarray

from retdm import console
from retdm.data.bad import BadSamples
from retdm.data.split import SplitData
from retdm.errors import ConfigError
from retdm.evaluation.npz import read_npz
from retdm.labels import LabelSpace
from retdm.predictor import Predictor
from retdm.train.checkpoint import check_labels
from retdm.train.scoring import open_loader

_REMEDY = "write it again with `python -m retdm.embed`"
_ARRAYS = ("embeddings", "keys", "targets", "labels", "model", "digest")


@dataclass(frozen=True, eq=False)
class Embedded:
    """The images of a split, embedded."""

    embeddings: Float32[ndarray, "images embed"]
    keys: tuple[str, ...]
    """Of the samples."""
    targets: Bool[ndarray, "images labels"]
    labels: tuple[str, ...]
    """Names of the columns of `targets`."""
    model: str
    """Which one: URL and checkpoint, for people."""
    digest: str
    """Of the model, by which it is known again wherever it lies."""


def embed_split(model: Predictor, data: SplitData) -> Embedded:
    """Embed a split in the order of its table, as evaluation sees it; bad images are left out.

    Shows how far it has come.

    Raises:
        BadSampleError: If more than `data.max_bad_samples` images cannot be decoded.
        CheckpointError: If the split has other labels than the model.
        StorageError: If the storage cannot be read.
    """
    check_labels(LabelSpace(model.labels), data.label_space, what=model.origin.url, data=data.url)
    settings, parts, rows = model.config.data, [], []
    bad = BadSamples(settings.max_bad_samples)
    loader = open_loader(data, settings, model.device, bad=bad)

    batches = console.progress(
        loader.batches(), total=len(loader), label="embedding", unit="batch"
    )
    try:
        for batch in batches:
            good = batch.valid.numpy()
            parts.append(model.embed_pixels(batch.images)[good])
            rows.append(batch.indices.numpy()[good])
    finally:
        loader.close()
    chosen = np.concatenate(rows)
    return Embedded(
        embeddings=np.concatenate(parts),
        keys=tuple(data.table.keys[row] for row in chosen.tolist()),
        targets=data.table.targets[chosen],
        labels=data.label_space.names,
        model=f"{model.origin.url} {model.origin.checkpoint}",
        digest=model.digest,
    )


def to_npz(embedded: Embedded) -> bytes:
    """All of it as a NumPy archive, without pickles."""
    file = io.BytesIO()
    np.savez(
        file,
        embeddings=embedded.embeddings,
        keys=np.array(embedded.keys, dtype=np.str_),
        targets=embedded.targets,
        labels=np.array(embedded.labels, dtype=np.str_),
        model=np.array(embedded.model),
        digest=np.array(embedded.digest),
    )
    return file.getvalue()


def from_npz(content: bytes, *, name: str) -> Embedded:
    """Read what `to_npz` wrote; nothing in it is executed.

    Args:
        content: The whole file.
        name: Its path or URL, for messages.

    Raises:
        ConfigError: If it is damaged or something else.
    """
    try:
        arrays, _ = read_npz(io.BytesIO(content), only=_ARRAYS)
    except ValueError as error:
        raise ConfigError(
            f"{name}: not a whole .npz archive of embeddings ({error}); {_REMEDY}"
        ) from error
    if missing := [array for array in _ARRAYS if array not in arrays]:
        raise ConfigError(f"{name}: no array {missing[0]!r}; {_REMEDY}")
    arrays = {array: np.asarray(arrays[array]) for array in _ARRAYS}
    embeddings, targets = arrays["embeddings"], arrays["targets"]
    keys, labels = arrays["keys"], arrays["labels"]
    words = arrays["model"], arrays["digest"]
    together = embeddings.ndim == 2 and keys.shape == embeddings.shape[:1] and labels.ndim == 1
    if not (
        together
        and targets.shape == (*keys.shape, *labels.shape)
        and embeddings.dtype == np.float32
        and targets.dtype == np.bool_
        and all(word.ndim == 0 for word in words)
        and all(map(_is_text, (keys, labels, *words)))
        and np.isfinite(embeddings).all()
    ):
        raise ConfigError(f"{name}: its arrays do not belong together; {_REMEDY}")
    names = tuple(keys.tolist()), tuple(labels.tolist())
    return Embedded(embeddings, names[0], targets, names[1], *map(str, words))


def _is_text(array: "np.ndarray[tuple[int, ...], np.dtype[Any]]") -> bool:
    """Whether all code points are those of Unicode, which NumPy does not look at."""
    if array.dtype.kind != "U" or not array.dtype.isnative:
        return False
    points = np.frombuffer(array.tobytes(), np.uint32)
    return not ((points > 0x10FFFF) | ((points >= 0xD800) & (points < 0xE000))).any()


def check_fits(embedded: Embedded, model: Predictor, *, name: str) -> None:
    """See that embeddings are of this very model.

    Raises:
        ConfigError: If not: points of two models have nothing to do with each other.
    """
    if embedded.digest != model.digest:
        raise ConfigError(
            f"{name}: embeddings by another model, {embedded.model} when they were made; "
            f"{_REMEDY} by this one"
        )
