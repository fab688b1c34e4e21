"""How an image file that may come from anyone is opened by Pillow.

Only in formats that photos come in: some of the fifty others that Pillow knows start programs
(Ghostscript, for EPS), and the fewer parsers see hostile bytes the better. And only up to a size
that can be decoded without filling the memory, which a file of a few bytes can claim to have.
"""

import io
import re
import struct
import warnings
from functools import cache

from PIL import Image

FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF", "PPM", "JPEG2000", "AVIF")

_MARKER = re.compile(rb"\xff[^\x00\xff\xd0-\xd7]")
_START, _SCAN, _END = b"\xff\xd8", b"\xff\xda", b"\xff\xd9"
_MOST_SCANS = 100
"""Of one JPEG; encoders make some ten."""

DAMAGE = (
    *(OSError, SyntaxError, ValueError, EOFError, LookupError, TypeError, struct.error),
    *(ArithmeticError, Image.DecompressionBombError),
)
"""What Pillow raises on files that are cut off, damaged, or not images."""


@cache
def _formats() -> tuple[str, ...]:
    """Those that this Pillow has."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)


def open_image(content: bytes) -> Image.Image:
    """An image whose pixels are not decoded yet.

    Raises:
        Exception: One of `DAMAGE`.
    """
    refuse_scans(content)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        image = Image.open(io.BytesIO(content), formats=_formats())
    refuse_bomb(image.width, image.height)
    return image


def refuse_bomb(width: int, height: int) -> None:
    """Refuse what Pillow would refuse or warn of: decoding it would fill the memory.

    Raises:
        ValueError: If the image claims to have too many pixels.
    """
    if width * height > most_pixels():
        raise ValueError(
            f"{width}x{height} pixels, which could be a decompression bomb; at most "
            f"{most_pixels()} are decoded"
        )


def refuse_scans(content: bytes) -> None:
    """Refuse a JPEG whose pixels are drawn over and over, each time at the cost of the whole.

    Raises:
        ValueError: If it has more scans than any encoder makes.
    """
    # Few bytes that look like the marker are few markers.
    if not content.startswith(_START) or content.count(_SCAN) <= _MOST_SCANS:
        return
    at, scans = 2, 0
    while (found := _MARKER.search(content, at)) and found[0] != _END:
        at = found.end()
        if found[0] not in (_START, b"\xff\x01"):  # which have no content
            at += int.from_bytes(content[at : at + 2])
        scans += found[0] == _SCAN
    if scans > _MOST_SCANS:
        raise ValueError(f"{scans} scans, which could be a decompression bomb")


def most_pixels() -> int:
    """Pixels of the largest image that is decoded; `PIL.Image.MAX_IMAGE_PIXELS` sets it."""
    return Image.MAX_IMAGE_PIXELS or 2**62
