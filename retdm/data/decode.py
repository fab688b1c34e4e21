"""From stored image bytes to the pixels a network sees.

Training uses the corner crops of "Towards good practices for very deep two-stream ConvNets"
(Wang et al. 2015), as the paper does: the whole image is thought of as a square of side
`resize`; crop width and height are drawn independently from 256, 224, 192 and 168 256ths of it,
the place from the four corners and the centre; half of the crops are mirrored. Evaluation
takes one centre crop of side `image_size`. Each image is resampled once, straight from the crop
to the network's input, with a triangle filter as wide as the reduction. Edges of the crop are
rounded to whole pixels of the decoded image.

JPEGs are decoded by libjpeg-turbo (simplejpeg), large ones at a half of their size or less where
that still has all the pixels needed. Everything else, and JPEGs of unusual colours (CMYK, say), is
left to Pillow; of other JPEGs both make the same pixels. All arithmetic is on integers, so pixels
are the same on every kind of processor. In a loader process nothing here starts threads.

EXIF orientation is not applied: stored bytes are shown as they are, as in the data sets' own
evaluations. Transparency is dropped.
"""

import math
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
import simplejpeg
import torch
from PIL import UnidentifiedImageError
from torch.nn import functional

from retdm.data.draws import random_words
from retdm.data.image_files import DAMAGE, most_pixels, open_image, refuse_scans
from retdm.errors import BadSampleError, ConfigError

Pixels = npt.NDArray[np.uint8]
_CROP_SIDES = (256, 224, 192, 168)
_WHOLE = 256
# Place of the crop as twice its share of the free space, left and above: corners, centre.
_PLACES = ((0, 0), (2, 0), (0, 2), (2, 2), (1, 1))


@dataclass(frozen=True, slots=True)
class Crop:
    """A part of an image, in shares of its width and height, and whether it is mirrored."""

    left: float
    top: float
    right: float
    bottom: float
    mirror: bool


@dataclass(frozen=True, slots=True)
class Decoder:
    """Turns image bytes into uint8 pixels of shape (3, `size`, `size`), RGB."""

    size: int
    resize: int
    augment: Literal["corner-crop", "none"]

    @classmethod
    def of(
        cls, *, image_size: int, resize: int, augment: Literal["corner-crop", "none"]
    ) -> "Decoder":
        """The decoder of `data.image_size`, `data.resize` and `data.augment`.

        Raises:
            ConfigError: If the image would be resized to less than the crop.
        """
        side = resize or round(image_size * 8 / 7)
        if side < image_size:
            raise ConfigError(
                f"data.resize is {resize}, less than data.image_size ({image_size}); make it "
                f"{image_size} or more, or 0 for {round(image_size * 8 / 7)}"
            )
        return cls(image_size, side, augment)

    def training_crop(self, *, seed: int, epoch: int, row: int) -> Crop:
        """The crop of this sample in this epoch, whoever decodes it."""
        if self.augment == "none":
            return self.centre_crop()
        words = random_words(4, "augment", seed, epoch, row).tolist()
        width = _CROP_SIDES[words[0] % len(_CROP_SIDES)] / _WHOLE
        height = _CROP_SIDES[words[1] % len(_CROP_SIDES)] / _WHOLE
        across, down = _PLACES[words[2] % len(_PLACES)]
        left, top = (1 - width) * across / 2, (1 - height) * down / 2
        return Crop(left, top, left + width, top + height, mirror=bool(words[3] % 2))

    def centre_crop(self) -> Crop:
        """The single crop of evaluation."""
        margin = (1 - self.size / self.resize) / 2
        return Crop(margin, margin, 1 - margin, 1 - margin, mirror=False)

    def decode(self, content: bytes, crop: Crop, *, into: Pixels) -> None:
        """Decode and resample.

        Args:
            content: The stored bytes of an image.
            crop: Which part to take.
            into: Where to write it, uint8 of shape (3, `size`, `size`). Fastest where the three
                colours of a pixel lie side by side in memory.

        Raises:
            BadSampleError: If the bytes are empty, cut short, damaged, or not an image; the
                caller knows which sample it is.
        """
        self.resample(self._pixels(content, crop), crop, into=into)

    def resample(self, pixels: Pixels, crop: Crop, *, into: Pixels) -> None:
        """As `decode` for an image that is decoded: of shape (height, width, 3), RGB."""
        height, width, _ = pixels.shape
        part = pixels[_span(crop.top, crop.bottom, height), _span(crop.left, crop.right, width)]
        small = functional.interpolate(
            torch.from_numpy(np.ascontiguousarray(part)).unsqueeze(0).permute(0, 3, 1, 2),
            size=(self.size, self.size),
            mode="bilinear",
            antialias=True,
        )
        np.copyto(into, (small.flip(3) if crop.mirror else small).squeeze(0).numpy())

    def _pixels(self, content: bytes, crop: Crop) -> Pixels:
        """The whole image, not much larger than the crop needs, of shape (height, width, 3)."""
        if not content:
            raise BadSampleError(f"the image has no bytes; {_REMEDY}")
        try:
            refuse_scans(content)
        except ValueError as error:
            raise _undecodable(str(error)) from error
        try:
            height, width, colours, _ = simplejpeg.decode_jpeg_header(content)
            if colours in _TAKEN and height * width <= most_pixels():
                pixels: Pixels = simplejpeg.decode_jpeg(
                    content,
                    min_height=math.ceil(self.size / (crop.bottom - crop.top)),
                    min_width=math.ceil(self.size / (crop.right - crop.left)),
                    # Between a half and the whole, decoding takes longer than of the whole.
                    min_factor=2,
                )
                return pixels
        except ValueError as error:
            reason = str(error)
            # What is only odd ("extraneous bytes") is left to Pillow, as is what is no JPEG.
            if reason.startswith("Corrupt") and "extraneous" not in reason:
                raise _undecodable(reason) from error
        return _by_pillow(content)


def _span(start: float, stop: float, length: int) -> slice:
    """From share `start` to share `stop` of so many pixels, at least one."""
    first = min(round(start * length), length - 1)
    return slice(first, max(round(stop * length), first + 1))


def _by_pillow(content: bytes) -> Pixels:
    try:
        with open_image(content) as image:
            return np.array(image.convert("RGB"))
    except UnidentifiedImageError as error:
        # PIL's own text is the address of a buffer.
        raise _undecodable("not an image") from error
    except DAMAGE as error:
        raise _undecodable(str(error)) from error


def _undecodable(reason: str) -> BadSampleError:
    return BadSampleError(f"cannot be decoded ({reason}); {_REMEDY}")


_REMEDY = "replace the photo or leave it out"
# Colour spaces of JPEGs that simplejpeg turns into RGB as Pillow does.
_TAKEN = ("YCbCr", "RGB", "Gray")
