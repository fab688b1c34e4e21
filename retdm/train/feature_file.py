"""Features of a split as one file, which every later run on the same images and weights reads.

A file is an .npz archive without pickled objects; its own checksum tells a damaged one.
"""

import hashlib
import json
import logging
from collections.abc import Mapping
from dataclasses import asdict, astuple, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from retdm.data.bad import BadSample
from retdm.errors import NotFoundError
from retdm.evaluation.npz import read_npz
from retdm.json_input import parse_json
from retdm.scratch import Scratch
from retdm.storage import Store

FOLDER = "features"
_log = logging.getLogger(__name__)


@dataclass(frozen=True, eq=False)
class Features:
    """What a network gives for the usable images of a split, in table order."""

    values: npt.NDArray[np.float32]
    """Images x features."""
    rows: npt.NDArray[np.int64]
    """Row of each image in the split's label table, ascending."""
    bad: tuple[BadSample, ...]
    """The images that are left out."""


def file_name(about: Mapping[str, str | int]) -> str:
    """Name of the file for features that are decided by `about`."""
    digest = hashlib.sha256(json.dumps(about, sort_keys=True).encode()).hexdigest()
    return f"{FOLDER}/{digest[:32]}.npz"


def write(store: Store, about: Mapping[str, str | int], features: Features) -> None:
    """Put the features on storage; readers see the whole file or none."""
    arrays: dict[str, npt.NDArray[Any]] = {
        "values": features.values,
        "rows": features.rows,
        "bad": _as_bytes([asdict(sample) for sample in features.bad]),
        "about": _as_bytes(dict(about)),
    }
    with Scratch("features") as folder:
        path = folder / "features.npz"
        np.savez(path, allow_pickle=False, **arrays, checksum=_checksum(arrays))
        store.write(file_name(about), path)


def read(store: Store, about: Mapping[str, str | int], *, images: int) -> Features | None:
    """The stored features that `about` decides; None if there are none, or damaged ones.

    Args:
        store: Holds the folder of features.
        about: Everything that decides them.
        images: In the split, for a check.
    """
    name = file_name(about)
    with Scratch("features") as folder:
        path = folder / "features.npz"
        try:
            store.download(name, path)
        except NotFoundError:
            return None
        try:
            return _parse(path, about, images)
        except (ValueError, TypeError, LookupError) as error:
            _log.warning(
                "%s/%s: damaged (%s); computing the features again",
                *(store.url, name, str(error).splitlines()[0] if str(error) else type(error)),
            )
            return None


def _parse(path: Path, about: Mapping[str, str | int], images: int) -> Features:
    # NumPy leaves open what it opens itself if the archive is damaged.
    with path.open("rb") as file:
        arrays, _ = read_npz(file)
    checksum = arrays.pop("checksum")
    if not np.array_equal(checksum, _checksum(arrays)):
        raise ValueError("its checksum is another")
    bad = tuple(BadSample(**table) for table in parse_json(arrays["bad"].tobytes()))
    features = Features(arrays["values"], arrays["rows"], bad)
    if parse_json(arrays["about"].tobytes()) != dict(about):
        raise ValueError("it is about something else")
    if not _is_sound(features, images):
        raise ValueError("its arrays are of another kind")
    if len(features.values) != len(features.rows) or len(features.rows) + len(bad) != images:
        raise ValueError(f"{len(features.rows)} images of {images}")
    return features


def _is_sound(features: Features, images: int) -> bool:
    """Whether the arrays and texts are what they should be; anyone may have made the file."""
    values, rows = features.values, features.rows
    return (
        (values.dtype.name, values.ndim) == ("float32", 2)
        and (rows.dtype.name, rows.ndim) == ("int64", 1)
        and bool(((rows >= 0) & (rows < images)).all())
        and all(isinstance(text, str) for bad in features.bad for text in astuple(bad))
    )


def _as_bytes(value: object) -> npt.NDArray[np.uint8]:
    return np.frombuffer(json.dumps(value, sort_keys=True).encode(), dtype=np.uint8)


def _checksum(arrays: Mapping[str, npt.NDArray[Any]]) -> npt.NDArray[np.uint8]:
    """SHA-256 of names, types, shapes and contents."""
    digest = hashlib.sha256()
    for name in sorted(arrays):
        array = np.ascontiguousarray(arrays[name])
        digest.update(f"{name} {array.dtype.str} {array.shape}\n".encode())
        digest.update(array.data)
    return np.frombuffer(digest.digest(), dtype=np.uint8)
