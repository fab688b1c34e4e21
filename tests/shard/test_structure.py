"""Damage that shows without decoding, wherever it is."""

import io
import struct
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image

from retdm.shard.structure import Structure, inspect


def encoded(kind, mode="RGB", **options):
    out = io.BytesIO()
    image = Image.effect_noise((60, 40), 60).convert(mode)
    image.save(out, kind, **options)
    return out.getvalue()


JPEG = encoded("JPEG", quality=95)
PROGRESSIVE = encoded("JPEG", progressive=True)
PNG = encoded("PNG")


@pytest.mark.parametrize("mode", ["RGB", "L", "CMYK"])
@pytest.mark.parametrize("progressive", [False, True])
def test_a_whole_jpeg(mode, progressive):
    assert inspect(encoded("JPEG", mode, progressive=progressive)) == Structure("JPEG", 60, 40)


@pytest.mark.parametrize("mode", ["RGB", "L", "P", "1", "RGBA"])
def test_a_whole_png(mode):
    assert inspect(encoded("PNG", mode)) == Structure("PNG", 60, 40)


@given(st.sampled_from([JPEG, PROGRESSIVE]), st.data())
def test_a_jpeg_cut_off_anywhere_is_noticed(content, data):
    end = data.draw(st.integers(3, len(content) - 1))
    with pytest.raises(ValueError, match="cut off"):
        inspect(content[:end])


@given(st.integers(8, len(PNG) - 1))
def test_a_png_cut_off_anywhere_is_noticed(end):
    with pytest.raises(ValueError, match="cut off"):
        inspect(PNG[:end])


@given(st.integers(8, len(PNG) - 1), st.integers(1, 255))
def test_any_wrong_byte_of_a_png_is_noticed(position, change):
    content = bytearray(PNG)
    content[position] ^= change
    with pytest.raises(ValueError):
        inspect(bytes(content))


def test_a_cut_that_leaves_the_thumbnail_whole_is_noticed():
    # The thumbnail is a JPEG of its own, with an end-of-image mark, in the header of the other.
    thumbnail = encoded("JPEG")
    segment = b"\xff\xe1" + struct.pack(">H", len(thumbnail) + 2) + thumbnail
    content = JPEG[:2] + segment + JPEG[2:]
    assert inspect(content) == Structure("JPEG", 60, 40)
    with pytest.raises(ValueError, match="no end-of-image mark behind the pixels"):
        inspect(content[:-100])


@pytest.mark.parametrize("behind", [b"\0", b"\r\n", b"MAKER" * 1000, JPEG])
def test_what_cameras_write_behind_the_picture_is_let_pass(behind):
    assert inspect(JPEG + behind) == Structure("JPEG", 60, 40)


def test_fill_bytes_before_a_marker():
    assert inspect(JPEG[:2] + b"\xff\xff" + JPEG[2:]) == Structure("JPEG", 60, 40)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"\xff\xd8\xff\xd9" + bytes(20), "no pixels before byte 2"),
        (b"\xff\xd8\xff\xe0\x00\x04ab" + b"x" * 20, "no marker at byte 8"),
        (JPEG[: JPEG.index(b"\xff\xc0")] + JPEG[JPEG.index(b"\xff\xda") :], "without a size"),
    ],
)
def test_a_jpeg_with_no_sense(content, message):
    with pytest.raises(ValueError, match=message):
        inspect(content)


def test_a_frame_that_only_decoders_judge():
    at = JPEG.index(b"\xff\xc0")
    assert inspect(JPEG[: at + 1] + b"\xc9" + JPEG[at + 2 :]) is None  # arithmetic coding
    assert inspect(JPEG[: at + 4] + b"\x0c" + JPEG[at + 5 :]) is None  # 12 bits


@pytest.mark.parametrize("content", [b"", b"<html>", b"GIF89a", b"\xff\xd8"])
def test_other_files_are_left_to_the_decoder(content):
    assert inspect(content) is None


def test_an_absurd_size(bomb):
    with pytest.raises(
        ValueError, match="60000x60000 pixels, which could be a decompression bomb"
    ):
        inspect(bomb)
    at = JPEG.index(b"\xff\xc0")
    with pytest.raises(ValueError, match="65535x65535 pixels"):
        inspect(JPEG[: at + 5] + b"\xff" * 4 + JPEG[at + 9 :])


def test_a_png_without_pixels():
    body = b"IEND"
    with pytest.raises(ValueError, match="a PNG without size or pixels"):
        inspect(PNG[:33] + struct.pack(">I", 0) + body + struct.pack(">I", zlib.crc32(body)))
