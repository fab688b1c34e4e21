import io
from collections import Counter
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
import simplejpeg
from PIL import Image

from retdm.data.decode import Crop, Decoder, Pixels
from retdm.errors import BadSampleError, ConfigError, ShardError

WHOLE = Crop(0, 0, 1, 1, mirror=False)


def decoder(size: int = 32, resize: int = 0) -> Decoder:
    return Decoder.of(image_size=size, resize=resize, augment="corner-crop")


def encode(pixels: Pixels, kind: str = "PNG", mode: str | None = None) -> bytes:
    out = io.BytesIO()
    image = Image.fromarray(pixels)
    (image.convert(mode) if mode else image).save(out, kind)
    return out.getvalue()


def gradient(side: int) -> Pixels:
    """Red tells the column and green the row, 0 to 255 over the image."""
    ramp = np.linspace(0, 255, side)
    red, green = np.meshgrid(ramp, ramp)
    return np.stack([red, green, np.full_like(red, 128)], axis=-1).round().astype(np.uint8)


def decoded(content: bytes, crop: Crop, *, size: int = 32) -> Pixels:
    out = np.zeros((3, size, size), dtype=np.uint8)
    decoder(size).decode(content, crop, into=out)
    return out


@pytest.mark.parametrize("row", range(12))
def test_pixels_come_from_where_the_crop_says(row: int) -> None:
    crop = decoder().training_crop(seed=0, epoch=0, row=row)
    pixels = decoded(encode(gradient(256)), crop).astype(float)
    share = (np.arange(32) + 0.5) / 32
    across = 255 * (crop.left + share * (crop.right - crop.left))
    down = 255 * (crop.top + share * (crop.bottom - crop.top))
    across = across[::-1] if crop.mirror else across
    # Two pixels at the rim are blended with what lies outside the ramp.
    inner = slice(2, -2)
    assert np.abs(pixels[0, :, inner] - across[None, inner]).max() < 3
    assert np.abs(pixels[1, inner, :] - down[inner, None]).max() < 3
    assert (pixels[2] == 128).all()


def test_crops_are_the_papers_and_equally_likely() -> None:
    counts: Counter[tuple[float, ...]] = Counter()
    for row in range(8000):
        crop = decoder().training_crop(seed=1, epoch=2, row=row)
        width, height = crop.right - crop.left, crop.bottom - crop.top
        across = 0.5 if width == 1 else crop.left / (1 - width)
        down = 0.5 if height == 1 else crop.top / (1 - height)
        counts[("width", round(width * 256, 6))] += 1
        counts[("height", round(height * 256, 6))] += 1
        counts[("mirror", crop.mirror)] += 1
        if width < 1 and height < 1:
            counts[("place", round(across, 6), round(down, 6))] += 1
    sides = {256: 2000, 224: 2000, 192: 2000, 168: 2000}
    wanted = {(kind, side): n for kind in ("width", "height") for side, n in sides.items()}
    places = ((0, 0), (1, 0), (0, 1), (1, 1), (0.5, 0.5))
    wanted |= {("mirror", False): 4000, ("mirror", True): 4000}  # type: ignore[dict-item]
    wanted |= {("place", *place): 900 for place in places}  # type: ignore[misc]
    assert counts.keys() == wanted.keys()
    for kind, expected in wanted.items():
        assert abs(counts[kind] - expected) < 5 * expected**0.5


def test_a_crop_depends_on_seed_epoch_and_row_alone() -> None:
    def crops(seed: int, epoch: int) -> list[Crop]:
        return [decoder().training_crop(seed=seed, epoch=epoch, row=row) for row in range(20)]

    assert crops(0, 0) == crops(0, 0)
    assert crops(0, 0) != crops(0, 1) != crops(1, 0)


def test_evaluation_takes_the_centre() -> None:
    crop = decoder(224).centre_crop()
    assert (crop.left, crop.top) == (0.0625, 0.0625)
    assert (crop.right, crop.bottom) == (0.9375, 0.9375)
    assert not crop.mirror
    assert decoder(32, resize=32).centre_crop() == WHOLE


def test_no_augmentation_is_the_centre_crop() -> None:
    plain = Decoder.of(image_size=32, resize=0, augment="none")
    assert plain.training_crop(seed=0, epoch=0, row=5) == plain.centre_crop()


def test_resizing_below_the_crop_is_refused() -> None:
    with pytest.raises(
        ConfigError, match=r"data\.resize is 30, less than data\.image_size \(32\); make it 32 or"
    ):
        decoder(32, resize=30)


def test_large_jpegs_are_decoded_small_and_look_the_same() -> None:
    coarse = np.random.default_rng(0).integers(0, 256, (8, 8, 3), dtype=np.uint8)
    image = Image.fromarray(coarse).resize((512, 512), Image.Resampling.BICUBIC)
    out = io.BytesIO()
    image.save(out, "JPEG", quality=95)
    fast = decoded(out.getvalue(), WHOLE).astype(float)
    full = Image.open(io.BytesIO(out.getvalue())).resize((32, 32), Image.Resampling.BILINEAR)
    difference = np.abs(fast - np.asarray(full).transpose(2, 0, 1))
    assert difference.mean() < 1.5
    assert difference.max() < 12


@pytest.mark.parametrize("kind, mode", [("PNG", "L"), ("PNG", "P"), ("PNG", "RGBA"), ("JPEG", "L"),
                                        ("JPEG", "CMYK"), ("PNG", "1"), ("GIF", "P")])  # fmt: skip
def test_any_colour_mode_becomes_rgb(kind: str, mode: str) -> None:
    white = np.full((40, 40, 3), 255, dtype=np.uint8)
    assert (decoded(encode(white, kind, mode), WHOLE) >= 250).all()


@pytest.mark.parametrize(
    "damage, reason",
    [
        (lambda content: b"", r"^the image has no bytes"),
        (lambda content: content[: len(content) // 2], r"^cannot be decoded \(.*truncated"),
        (lambda content: b"GIF8" + bytes(40), r"^cannot be decoded \("),
        (lambda content: b"<html>no such photo", r"^cannot be decoded \(not an image\)"),
    ],
)
def test_damaged_images_are_named(damage: Callable[[bytes], bytes], reason: str) -> None:
    noise = np.random.default_rng(0).integers(0, 256, (64, 64, 3), dtype=np.uint8)
    content = damage(encode(noise, "JPEG"))
    with pytest.raises(ShardError, match=rf"{reason}.*; replace the photo or leave it out"):
        decoded(content, WHOLE)


def test_of_a_camera_file_of_several_pictures_the_first_counts() -> None:
    out = io.BytesIO()
    first, second = (Image.new("RGB", (300, 200), colour) for colour in ("white", "black"))
    first.save(out, "MPO", save_all=True, append_images=[second])
    assert (decoded(out.getvalue(), WHOLE) >= 250).all()


@pytest.mark.parametrize("mode, options", [
    ("RGB", {"subsampling": "4:2:0"}), ("RGB", {"subsampling": "4:2:2"}),
    ("RGB", {"subsampling": "4:4:4"}), ("RGB", {"progressive": True}),
    ("RGB", {"keep_rgb": True}), ("L", {}),
])  # fmt: skip
def test_jpegs_are_decoded_as_pillow_does(mode: str, options: dict[str, Any]) -> None:
    noise = np.random.default_rng(1).integers(0, 256, (12, 9, 3), dtype=np.uint8)
    image = Image.fromarray(noise).resize((90, 121), Image.Resampling.BICUBIC).convert(mode)
    out = io.BytesIO()
    image.save(out, "JPEG", **options)
    same = encode(np.asarray(Image.open(out).convert("RGB")), "PNG")
    crop = decoder().training_crop(seed=0, epoch=0, row=7)
    assert (decoded(out.getvalue(), crop) == decoded(same, crop)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
@pytest.mark.parametrize("shape", [(1, 1), (2, 1), (1, 300)])
def test_the_smallest_images_have_a_crop(kind: str, shape: tuple[int, int]) -> None:
    content = encode(np.full((*shape, 3), 200, dtype=np.uint8), kind)
    for row in range(20):
        crop = decoder().training_crop(seed=0, epoch=0, row=row)
        assert (abs(decoded(content, crop).astype(int) - 200) <= 2).all()
    centre = decoder(32, resize=4000).centre_crop()
    assert (abs(decoded(content, centre).astype(int) - 200) <= 2).all()


def test_memory_order_does_not_change_pixels() -> None:
    content = encode(gradient(100), "JPEG")
    side_by_side = np.zeros((32, 32, 3), dtype=np.uint8).transpose(2, 0, 1)
    decoder().decode(content, WHOLE, into=side_by_side)
    assert (side_by_side == decoded(content, WHOLE)).all()


def test_sixteen_bits_are_left_to_pillow() -> None:
    out = io.BytesIO()
    Image.fromarray(np.full((40, 40), 200, dtype=np.uint16)).save(out, "PNG")
    assert (decoded(out.getvalue(), WHOLE) == 200).all()


def real_jpeg() -> bytes:
    noise = np.random.default_rng(2).integers(0, 256, (60, 60, 3), dtype=np.uint8)
    return encode(noise, "JPEG")


def test_damaged_pixel_data_is_an_error_though_pillow_would_take_it() -> None:
    content = real_jpeg()
    half = len(content) // 2
    damaged = content[:half] + content[half + 500 :]
    Image.open(io.BytesIO(damaged)).load()
    with pytest.raises(BadSampleError, match=r"^cannot be decoded \(Corrupt JPEG data: .*; repl"):
        decoded(damaged, WHOLE)


def test_harmless_oddities_of_a_jpeg_are_not() -> None:
    content = real_jpeg()
    odd = content[:-2] + b"abc" * 9 + content[-2:]
    with pytest.raises(ValueError, match="extraneous bytes"):
        simplejpeg.decode_jpeg(odd)
    assert (decoded(odd, WHOLE) == decoded(content, WHOLE)).all()
    assert (decoded(content + b"trailer", WHOLE) == decoded(content, WHOLE)).all()


@pytest.mark.parametrize("kind", ["JPEG", "PNG"])
def test_a_decompression_bomb_is_an_error(kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    content = encode(gradient(100), kind)
    with pytest.raises(BadSampleError, match=r"^cannot be decoded \(.*decompression bomb"):
        decoded(content, WHOLE)
