"""One photo made ready for a tar: read, checked, reduced if asked."""

import io
import os
from dataclasses import dataclass
from pathlib import Path

from PIL import Image, ImageOps

from retdm.data.image_files import DAMAGE, open_image
from retdm.datasets import Record
from retdm.errors import DatasetError
from retdm.shard.spec import Check, ResizeOptions
from retdm.shard.structure import inspect

STORED = {"JPEG": "jpg", "MPO": "jpg", "PNG": "png"}
"""Formats that may be stored as they are, with the suffix they get.

MPO is Pillow's name for a camera's JPEG with more pictures behind the first; those are not used.
"""


@dataclass(frozen=True, slots=True)
class Photo:
    """The bytes to store and what they are."""

    content: bytes
    suffix: str
    """"jpg" or "png"."""
    width: int
    """Pixels, as stored."""
    height: int


def read_photo(record: Record, resize: ResizeOptions, *, check: Check = "structure") -> Photo:
    """Read and check the photo of a record.

    A photo that is not to be reduced keeps its bytes, and then an EXIF orientation is not
    applied (nor is it by the loader); reducing decodes it and writes upright pixels.

    Args:
        record: Names the file.
        resize: Whether and how to reduce it.
        check: "structure" sees that the file is whole (see `structure`); "decode" decodes every
            pixel.

    Raises:
        DatasetError: If the file is empty, cut off, damaged, or no image; or if it would have
            to be stored in a format that the shards do not have.
    """
    try:
        content = _read(record.image)
    except OSError as error:
        reason = error.strerror or str(error)
        raise _bad(record, f"cannot be read ({reason})", "check its permissions") from None
    if not content:
        raise _bad(record, "is empty (0 bytes)", "copy it again or remove its row")
    try:
        seen = inspect(content)
        small = seen and not 0 < resize.short_side < min(seen.width, seen.height)
        if seen and small and check == "structure":
            return Photo(content, STORED[seen.kind], seen.width, seen.height)
        image = decoded(content)
        kind = str(image.format)
        if resize.short_side and min(image.size) > resize.short_side:
            return _reduced(image, resize)
    except DAMAGE as error:
        raise _bad(
            record,
            f"cannot be decoded ({len(content)} bytes: {reason_of(error)})",
            "it is cut off or not an image: copy it again or remove its row",
        ) from None
    if kind not in STORED:
        raise _bad(
            record,
            f"is {kind}, and only JPEG and PNG are stored as they are",
            "convert it to one of them",
        )
    return Photo(content, STORED[kind], image.width, image.height)


def decoded(content: bytes) -> Image.Image:
    """An image with every pixel decoded.

    Raises:
        Exception: One of `DAMAGE`.
    """
    image = open_image(content)
    image.load()
    return image


def reason_of(error: BaseException) -> str:
    """Pillow's words without the address of the buffer, which differs from run to run."""
    return str(error).partition("<_io")[0].strip() or type(error).__name__


def _read(path: Path) -> bytes:
    """The file's content, with half the system calls of `Path.read_bytes`."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(descriptor).st_size
        content = os.read(descriptor, size + 1)
        while len(content) != size and (more := os.read(descriptor, 1 << 20)):
            content += more  # it is very large, or grows
    finally:
        os.close(descriptor)
    return content


def _reduced(image: Image.Image, resize: ResizeOptions) -> Photo:
    upright = ImageOps.exif_transpose(image).convert("RGB")
    factor = resize.short_side / min(upright.size)
    size = (round(upright.width * factor), round(upright.height * factor))
    small = upright.resize(size, Image.Resampling.LANCZOS)
    out = io.BytesIO()
    small.save(out, "JPEG", quality=resize.quality)
    return Photo(out.getvalue(), "jpg", small.width, small.height)


def _bad(record: Record, what: str, remedy: str) -> DatasetError:
    return DatasetError(f"{record.where}: photo {record.image} {what}; {remedy}")
