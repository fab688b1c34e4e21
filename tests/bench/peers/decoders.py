"""Decoders and resizers by turns, for bench_decoders.py: python decoders.py FOLDER ROUNDS."""

import io
import math
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from statistics import median
from typing import Any

import cv2
import imagecodecs
import numpy as np
import numpy.typing as npt
import pyvips
import simplejpeg
import torch
import torchvision
from PIL import Image
from torch.nn import functional

from retdm.data.decode import Crop, Decoder

SIZE = 224
Pixels = npt.NDArray[np.uint8]
Decode = Callable[[bytes, Crop], Pixels]
Resize = Callable[[Pixels, Crop], Pixels]
torch.set_num_threads(1)
cv2.setNumThreads(0)
pyvips.cache_set_max(0)
warnings.filterwarnings("ignore", message=".*not writable")


def wanted(crop: Crop) -> tuple[int, int]:
    """Least width and height of the whole image."""
    return (
        math.ceil(SIZE / (crop.right - crop.left)),
        math.ceil(SIZE / (crop.bottom - crop.top)),
    )


def reduction(content: bytes, crop: Crop) -> int:
    """By which power of two the image may be reduced."""
    height, width, *_ = simplejpeg.decode_jpeg_header(content)
    least_width, least_height = wanted(crop)
    room = min(width / least_width, height / least_height)
    return max(n for n in (1, 2, 4, 8) if n == 1 or n <= room)


def pillow(content: bytes, crop: Crop) -> Pixels:
    image = Image.open(io.BytesIO(content))
    image.draft(None, wanted(crop))
    return np.asarray(image)


def pillow_whole(content: bytes, _: Crop) -> Pixels:
    return np.asarray(Image.open(io.BytesIO(content)))


def simple_whole(content: bytes, _: Crop) -> Pixels:
    return simplejpeg.decode_jpeg(content)


def simple(**options: Any) -> Decode:
    def decode(content: bytes, crop: Crop) -> Pixels:
        width, height = wanted(crop)
        return simplejpeg.decode_jpeg(content, min_width=width, min_height=height, **options)

    return decode


def opencv(content: bytes, crop: Crop) -> Pixels:
    flags = {
        1: cv2.IMREAD_COLOR,
        2: cv2.IMREAD_REDUCED_COLOR_2,
        4: cv2.IMREAD_REDUCED_COLOR_4,
        8: cv2.IMREAD_REDUCED_COLOR_8,
    }
    flag = flags[reduction(content, crop)] | cv2.IMREAD_IGNORE_ORIENTATION
    found = cv2.imdecode(np.frombuffer(content, dtype=np.uint8), flag)
    return cv2.cvtColor(found, cv2.COLOR_BGR2RGB)


def torchvision_whole(content: bytes, _: Crop) -> Pixels:
    found = torchvision.io.decode_jpeg(torch.frombuffer(content, dtype=torch.uint8))
    return found.permute(1, 2, 0).numpy()


def imagecodecs_whole(content: bytes, _: Crop) -> Pixels:
    return imagecodecs.jpeg8_decode(content)


def vips(content: bytes, crop: Crop) -> Pixels:
    return pyvips.Image.jpegload_buffer(content, shrink=reduction(content, crop)).numpy()


def part(pixels: Pixels, crop: Crop) -> Pixels:
    height, width, _ = pixels.shape
    rows = slice(round(crop.top * height), round(crop.bottom * height))
    return np.ascontiguousarray(pixels[rows, round(crop.left * width) : round(crop.right * width)])


def by_torch(pixels: Pixels, crop: Crop) -> Pixels:
    image = torch.from_numpy(part(pixels, crop)).unsqueeze(0).permute(0, 3, 1, 2)
    small = functional.interpolate(image, (SIZE, SIZE), mode="bilinear", antialias=True)
    return (small.flip(3) if crop.mirror else small).squeeze(0).permute(1, 2, 0).numpy()


def by_pillow(pixels: Pixels, crop: Crop) -> Pixels:
    height, width, _ = pixels.shape
    box = (crop.left * width, crop.top * height, crop.right * width, crop.bottom * height)
    image = Image.fromarray(pixels)
    small = np.asarray(image.resize((SIZE, SIZE), Image.Resampling.BILINEAR, box=box))
    return small[:, ::-1] if crop.mirror else small


def by_opencv(how: int) -> Resize:
    def resize(pixels: Pixels, crop: Crop) -> Pixels:
        small = cv2.resize(part(pixels, crop), (SIZE, SIZE), interpolation=how)
        return cv2.flip(small, 1) if crop.mirror else small

    return resize


_HALVES = simple(min_factor=2)
WAYS: dict[str, tuple[Decode, Resize]] = {
    "Pillow, whole + Pillow": (pillow_whole, by_pillow),
    "Pillow, draft + Pillow": (pillow, by_pillow),
    "Pillow, draft + torch": (pillow, by_torch),
    "simplejpeg, whole + torch": (simple_whole, by_torch),
    "simplejpeg, M/8 + torch": (simple(), by_torch),
    "simplejpeg, M/8 up to 1/2 + torch (used)": (_HALVES, by_torch),
    "  with fast DCT and upsampling": (
        simple(min_factor=2, fastdct=True, fastupsample=True),
        by_torch,
    ),
    "  + Pillow": (_HALVES, by_pillow),
    "  + OpenCV, linear": (_HALVES, by_opencv(cv2.INTER_LINEAR)),
    "  + OpenCV, area": (_HALVES, by_opencv(cv2.INTER_AREA)),
    "OpenCV, reduced + OpenCV, area": (opencv, by_opencv(cv2.INTER_AREA)),
    "OpenCV, reduced + torch": (opencv, by_torch),
    "torchvision, whole + torch": (torchvision_whole, by_torch),
    "imagecodecs, whole + torch": (imagecodecs_whole, by_torch),
    "libvips, shrunk + torch": (vips, by_torch),
}


def truth(content: bytes, crop: Crop) -> npt.NDArray[np.float64]:
    """Full decoding and a triangle filter over the exact crop, in float64."""
    whole = pillow_whole(content, crop).astype(np.float64)
    height, width, _ = whole.shape
    rows = _weights(height, crop.top * height, crop.bottom * height)
    columns = _weights(width, crop.left * width, crop.right * width)
    small = np.einsum("ij,kl,jlc->ikc", rows, columns, whole, optimize=True)
    return small[:, ::-1] if crop.mirror else small


def _weights(length: int, start: float, stop: float) -> npt.NDArray[np.float64]:
    scale = (stop - start) / SIZE
    centres = start + (np.arange(SIZE) + 0.5) * scale
    distance = np.abs(np.arange(length)[None] + 0.5 - centres[:, None]) / max(scale, 1.0)
    weights = np.maximum(0.0, 1.0 - distance)
    return weights / weights.sum(axis=1, keepdims=True)


def psnr(found: Pixels, wanted: npt.NDArray[np.float64]) -> float:
    return float(10 * np.log10(255**2 / np.mean((found - wanted) ** 2)))


def main(folder: str, rounds: int) -> None:
    contents = [path.read_bytes() for path in sorted(Path(folder).iterdir())]
    decoder = Decoder.of(image_size=SIZE, resize=0, augment="corner-crop")
    crops = [decoder.training_crop(seed=0, epoch=0, row=row) for row in range(len(contents))]
    photos = list(zip(contents, crops, strict=True))
    truths = [truth(*photo) for photo in photos]
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in WAYS}
    for number in range(rounds + 1):
        for name, (decode, resize) in WAYS.items():
            decoding = resizing = 0.0
            for content, crop in photos:
                started = time.process_time()
                whole = decode(content, crop)
                between = time.process_time()
                resize(whole, crop)
                decoding += between - started
                resizing += time.process_time() - between
            if number:
                times[name].append((decoding, resizing))
    print(
        f"  {'CPU ms a photo':42}{'decode':>8}{'resize':>8}{'both':>8}{'PSNR dB':>9}{'least':>7}"
    )
    for name, (decode, resize) in WAYS.items():
        first, second = (
            1000 * median(pair[i] for pair in times[name]) / len(photos) for i in (0, 1)
        )
        quality = [
            psnr(resize(decode(*photo), photo[1]), wanted)
            for photo, wanted in zip(photos, truths, strict=True)
        ]
        print(
            f"  {name:42}{first:8.2f}{second:8.2f}{first + second:8.2f}"
            f"{np.mean(quality):9.1f}{min(quality):7.1f}"
        )


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]))
