"""Photos as their cameras were held: turned by the EXIF orientation, if they have one."""

import warnings

import numpy as np
from PIL import Image, ImageOps

from retdm.data.decode import Pixels
from retdm.data.image_files import DAMAGE, open_image

_ORIENTATION, _UPRIGHT = 0x0112, 1


def upright(content: bytes) -> bytes | Pixels:
    """The bytes of an image file as they are, or its pixels if it has to be turned.

    Shards have photos upright that were reduced when they were packed, and so should be what a
    model is asked about. A damaged file is returned as it is: who decodes it says what is wrong.
    """
    try:
        with warnings.catch_warnings(), open_image(content) as image:
            warnings.simplefilter("ignore")  # of EXIF that is damaged, as it often is
            if image.getexif().get(_ORIENTATION, _UPRIGHT) == _UPRIGHT:
                return content
            return turned(image)
    except DAMAGE:
        return content


def turned(image: Image.Image) -> Pixels:
    """The pixels of an image, upright, RGB."""
    return np.array(ImageOps.exif_transpose(image).convert("RGB"))
