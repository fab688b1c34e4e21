"""From stored image bytes to the pixels a network sees.

Training uses the corner crops of "Towards good practices for very deep two-stream ConvNets"
(Wang et al. 2015), as the paper does: the whole image is thought of as a square of side
`resize`; crop width and height are drawn independently from 256, 224, 192 and 168 256ths of it,
the place from the four corners and the centre; half of the crops are mirrored. Evaluation
takes one centre crop of side `image_size`. Each image is resampled once, straight from the crop
to the network's input, and large JPEGs are decoded at a half, quarter or eighth where that still
has all the pixels needed.

EXIF orientation is not applied: stored bytes are shown as they are, as in the data sets' own
evaluations. Transparency is dropped.
"""

import io
from dataclasses import dataclass
from typing import Literal

import numpy as np
import numpy.typing as npt
from PIL import Image, UnidentifiedImageError

from retdm.data.draws import random_words
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
        words = [int(word) for word in random_words(4, "augment", seed, epoch, row)]
        width = _CROP_SIDES[words[0] % len(_CROP_SIDES)] / _WHOLE
        height = _CROP_SIDES[words[1] % len(_CROP_SIDES)] / _WHOLE
        across, down = _PLACES[words[2] % len(_PLACES)]
        left, top = (1 - width) * across / 2, (1 - height) * down / 2
        return Crop(left, top, left + width, top + height, mirror=bool(words[3] % 2))

    def centre_crop(self) -> Crop:
        """The single crop of evaluation."""
        margin = (1 - self.size / self.resize) / 2
        return Crop(margin, margin, 1 - margin, 1 - margin, mirror=False)

    def decode(self, content: bytes, crop: Crop, *, into: Pixels, where: str) -> None:
        """Decode and resample.

        Args:
            content: The stored bytes of an image.
            crop: Which part to take.
            into: Where to write it, uint8 of shape (3, `size`, `size`).
            where: Shard and key, which open the error.

        Raises:
            BadSampleError: If the bytes are empty, cut short, or not an image.
        """
        if not content:
            raise BadSampleError(f"{where}: the image has no bytes; {_REMEDY}")
        try:
            with Image.open(io.BytesIO(content)) as image:
                share_x, share_y = crop.right - crop.left, crop.bottom - crop.top
                image.draft(None, (int(self.size / share_x) + 1, int(self.size / share_y) + 1))
                image.load()
                rgb = image if image.mode == "RGB" else image.convert("RGB")
                width, height = rgb.size
                box = (
                    crop.left * width,
                    crop.top * height,
                    crop.right * width,
                    crop.bottom * height,
                )
                # The gap lets Pillow average whole blocks of pixels first: a fifth faster.
                small = rgb.resize(
                    (self.size, self.size), Image.Resampling.BILINEAR, box=box, reducing_gap=1.0
                )
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            # In this case PIL's own text is the address of a buffer.
            reason = "not an image" if isinstance(error, UnidentifiedImageError) else error
            raise BadSampleError(f"{where}: cannot be decoded ({reason}); {_REMEDY}") from error
        pixels = np.asarray(small).transpose(2, 0, 1)
        into[:] = pixels[:, :, ::-1] if crop.mirror else pixels


_REMEDY = "replace the photo or leave it out, and rebuild the shard set"
