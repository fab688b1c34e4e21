"""What users give as an image: a path, a URL, bytes of a file, a PIL image, or an array."""

import os
from collections.abc import Iterable
from typing import TypeAlias

import numpy as np
import numpy.typing as npt
from PIL import Image

from retdm.data.decode import Pixels
from retdm.data.image_files import DAMAGE
from retdm.errors import BadSampleError
from retdm.predictor.upright import turned
from retdm.storage import open_file

Picture: TypeAlias = str | os.PathLike[str] | bytes | Image.Image | npt.NDArray[np.uint8]
"""A path or s3:// URL; the bytes of an image file; a PIL image; or uint8 of shape (height, width,
3), RGB, or (height, width), grey."""


def listed(pictures: Picture | Iterable[Picture]) -> list[Picture]:
    """Several images as a list; a single one as a list of one.

    Example:
        >>> listed("a.jpg"), len(listed(np.zeros((5, 8, 8, 3), dtype=np.uint8)))
        (['a.jpg'], 5)
    """
    if isinstance(pictures, str | os.PathLike | bytes | Image.Image):
        return [pictures]
    if isinstance(pictures, np.ndarray) and pictures.ndim in (2, 3):
        return [pictures]
    return list(pictures)


def content_of(picture: Picture) -> bytes | Pixels:
    """The bytes of an image file, or the pixels of an image that is decoded.

    Raises:
        BadSampleError: If it is nothing of what a picture can be.
        StorageError: If its file cannot be read.
    """
    if isinstance(picture, bytes):
        return picture
    if isinstance(picture, str | os.PathLike):
        store, name = open_file(os.fspath(picture))
        return store.read(name)
    if isinstance(picture, Image.Image):
        try:
            return turned(picture)
        except DAMAGE as error:  # Pillow decodes when pixels are first wanted
            raise BadSampleError(f"cannot be decoded ({error}); {_WANTED}") from error
    if not isinstance(picture, np.ndarray):
        raise BadSampleError(f"is a {type(picture).__name__}; {_WANTED}")
    if picture.dtype != np.uint8 or not picture.size or not _has_shape(picture):
        raise BadSampleError(f"is an array of {picture.dtype} {list(picture.shape)}; {_WANTED}")
    return picture if picture.ndim == 3 else np.repeat(picture[:, :, None], 3, axis=2)


def name_of(picture: Picture, at: int) -> str:
    """What an error calls the image that was given at this place, from 0."""
    if isinstance(picture, str | os.PathLike):
        return os.fspath(picture)
    return f"image {at}"


def _has_shape(array: npt.NDArray[np.uint8]) -> bool:
    return array.ndim == 2 or (array.ndim == 3 and array.shape[2] == 3)


_WANTED = (
    "give a path, the bytes of an image file, a PIL image, or a uint8 array of shape "
    "(height, width, 3) or (height, width)"
)
