"""The bare limit: the same decoding and resizing as retdm's, of bytes in memory, in one loop."""

from turns import arguments, take_turns  # isort: skip

import math
from collections.abc import Iterator

import numpy as np
import simplejpeg
import torch
from torch import Tensor
from torch.nn import functional

from retdm.data.decode import Decoder

given = arguments()
torch.set_num_threads(1)
decoder = Decoder.of(image_size=given.size, resize=0, augment="corner-crop")
contents = [path.read_bytes() for path in sorted(given.photos.iterdir())]
crops = [decoder.training_crop(seed=0, epoch=0, row=row) for row in range(len(contents))]


def epoch() -> Iterator[Tensor]:
    for content, crop in zip(contents, crops, strict=True):
        whole = simplejpeg.decode_jpeg(
            content,
            min_height=math.ceil(given.size / (crop.bottom - crop.top)),
            min_width=math.ceil(given.size / (crop.right - crop.left)),
            min_factor=2,
        )
        height, width, _ = whole.shape
        part = np.ascontiguousarray(
            whole[
                round(crop.top * height) : round(crop.bottom * height),
                round(crop.left * width) : round(crop.right * width),
            ]
        )
        small = functional.interpolate(
            torch.from_numpy(part).unsqueeze(0).permute(0, 3, 1, 2),
            size=(given.size, given.size),
            mode="bilinear",
            antialias=True,
        )
        small = small.flip(3) if crop.mirror else small
        yield small.float().div_(255) if given.float else small


take_turns(epoch)
