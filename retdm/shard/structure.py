"""Whether an image file is whole, told from its structure without decoding a pixel.

Decoding every pixel costs a hundred times what packing does. What goes wrong in practice (a
download cut off, an error page saved as a photo, a flipped byte of a PNG) shows without it:

- JPEG: the markers are walked to the first scan; behind it an end-of-image mark must follow. In
  the pixels themselves that mark cannot occur, so where the file was cut off it is missing. What
  cameras append behind it (more pictures, maker's notes) is let pass.
- PNG: every chunk has its length and checksum, up to the end chunk.

A flipped byte within the pixels of a JPEG is not noticed: only `check = "decode"` looks there.
"""

import struct
import zlib
from dataclasses import dataclass

from retdm.data.image_files import refuse_bomb, refuse_scans

_JPEG = b"\xff\xd8\xff"
_PNG = b"\x89PNG\r\n\x1a\n"
_START_OF_SCAN, _END_OF_IMAGE = 0xDA, b"\xff\xd9"
_PLAIN_FRAMES = {0xC0, 0xC1, 0xC2}
"""Baseline, extended and progressive: what every decoder takes."""
_OTHER_FRAMES = {0xC3, *range(0xC5, 0xC8), *range(0xC9, 0xCC), *range(0xCD, 0xD0)}


@dataclass(frozen=True, slots=True)
class Structure:
    """What an image that looks whole says of itself."""

    kind: str
    """"JPEG" or "PNG"."""
    width: int
    """Pixels, as stored."""
    height: int


def inspect(content: bytes) -> Structure | None:
    """Walk through an image file.

    Returns:
        What it is; None for a kind of file that only decoding can judge.

    Raises:
        ValueError: If it is damaged or cut off, or claims to be absurdly large.
    """
    if content.startswith(_JPEG):
        return _jpeg(content)
    if content.startswith(_PNG):
        return _png(content)
    return None


def _jpeg(content: bytes) -> Structure | None:
    size: tuple[int, int] | None = None
    position, end = 2, len(content)
    while True:
        if position + 10 > end:  # even the shortest segment and some pixels take more
            raise ValueError("cut off before the pixels")
        if content[position] != 0xFF:
            raise ValueError(f"no marker at byte {position}")
        marker = content[position + 1]
        if marker == 0xFF:  # a fill byte
            position += 1
            continue
        length = (content[position + 2] << 8) + content[position + 3]
        if marker in _PLAIN_FRAMES:
            precision, height, width, parts = struct.unpack_from(">BHHB", content, position + 4)
            if precision != 8 or parts not in (1, 3, 4) or not width or not height:
                return None
            size = (width, height)
        elif marker in _OTHER_FRAMES:
            return None
        elif marker == _START_OF_SCAN:
            break
        elif length < 2 or marker == 0xD9:
            raise ValueError(f"no pixels before byte {position}")
        position += 2 + length
    if size is None:
        raise ValueError("pixels without a size before them")
    if content.rfind(_END_OF_IMAGE, position) < 0:
        raise ValueError("cut off: no end-of-image mark behind the pixels")
    refuse_scans(content)
    return _plausible("JPEG", *size)


def _png(content: bytes) -> Structure:
    view = memoryview(content)
    position, end = len(_PNG), len(content)
    width, height, pixels = 0, 0, False
    while True:
        if position + 12 > end:
            raise ValueError("cut off: no end chunk")
        length, kind = struct.unpack_from(">I4s", content, position)
        name = kind.decode("ascii", "backslashreplace")
        after = position + 12 + length
        if after > end:
            raise ValueError(f"cut off in chunk {name} at byte {position}")
        (wanted,) = struct.unpack_from(">I", content, after - 4)
        if zlib.crc32(view[position + 4 : after - 4]) != wanted:
            raise ValueError(f"wrong checksum of chunk {name} at byte {position}")
        if kind == b"IHDR" and length == 13:
            width, height = struct.unpack_from(">II", content, position + 8)
        pixels |= kind == b"IDAT"
        if kind == b"IEND":
            break
        position = after
    if not width or not height or not pixels:
        raise ValueError("a PNG without size or pixels")
    return _plausible("PNG", width, height)


def _plausible(kind: str, width: int, height: int) -> Structure:
    refuse_bomb(width, height)
    return Structure(kind, width, height)
