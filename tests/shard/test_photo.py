"""Photos on their way into a tar: untouched or reduced, and every kind of damage."""

import io
import re
import struct
import zlib

import pytest
from PIL import Image

from retdm.datasets import Record
from retdm.errors import DatasetError
from retdm.shard.photo import read_photo
from retdm.shard.spec import ResizeOptions

KEEP = ResizeOptions()


@pytest.fixture
def record(tmp_path):
    def write(content):
        (tmp_path / "x.jpg").write_bytes(content)
        return Record("x", tmp_path / "x.jpg", (), None, "labels.csv: row 3")

    return write


@pytest.mark.parametrize("kind, suffix", [("JPEG", "jpg"), ("PNG", "png")])
def test_bytes_stay_as_they_are_and_the_suffix_is_the_real_one(record, image, kind, suffix):
    photo = read_photo(record(image(3, kind)), KEEP)
    assert photo.content == image(3, kind)
    assert (photo.suffix, photo.width, photo.height) == (suffix, 27, 20)


@pytest.mark.parametrize("progressive", [False, True])
@pytest.mark.parametrize("share", [0.02, 0.3, 0.6, 0.9])
def test_truncated_jpeg(record, image, share, progressive):
    content = image(3, progressive=progressive, quality=95)
    cut = content[: int(len(content) * share)]
    with pytest.raises(
        DatasetError,
        match=rf"labels.csv: row 3: photo .*x.jpg cannot be decoded \({len(cut)} bytes: .*\); "
        "it is cut off or not an image: copy it again or remove its row",
    ):
        read_photo(record(cut), KEEP)


def test_every_pixel_is_decoded_where_that_is_asked_for(record, image):
    # Chunks and checksums are right, the compressed pixels are not.
    content = bytearray(image(3, "PNG"))
    start = content.index(b"IDAT")
    (size,) = struct.unpack_from(">I", content, start - 4)
    content[start + 4 : start + 4 + size] = bytes(size)
    crc = zlib.crc32(content[start : start + 4 + size])
    content[start + 4 + size : start + 8 + size] = struct.pack(">I", crc)
    whole = record(bytes(content))
    assert read_photo(whole, KEEP).content == bytes(content)
    with pytest.raises(DatasetError, match="cannot be decoded"):
        read_photo(whole, KEEP, check="decode")


def test_both_checks_take_what_is_sound(record, image):
    for kind in ("JPEG", "PNG"):
        photo = record(image(3, kind))
        assert read_photo(photo, KEEP, check="decode") == read_photo(photo, KEEP)


def test_truncated_png(record, image):
    with pytest.raises(DatasetError, match=r"cannot be decoded"):
        read_photo(record(image(3, "PNG")[:-300]), KEEP)


def test_zero_bytes(record):
    with pytest.raises(DatasetError, match=r"row 3: photo .*x.jpg is empty \(0 bytes\); copy it"):
        read_photo(record(b""), KEEP)


def test_not_an_image_and_the_reason_is_the_same_every_time(record):
    with pytest.raises(DatasetError, match="cannot be decoded") as one:
        read_photo(record(b"<html>404</html>"), KEEP)
    with pytest.raises(DatasetError, match="cannot identify image file") as two:
        read_photo(record(b"<html>404</html>"), KEEP)
    assert str(one.value) == str(two.value)
    assert "0x" not in str(one.value)


def test_a_camera_file_of_several_pictures_is_a_jpeg(record):
    out = io.BytesIO()
    first, second = (Image.new("RGB", (30, 20), colour) for colour in ("red", "blue"))
    first.save(out, "MPO", save_all=True, append_images=[second])
    photo = read_photo(record(out.getvalue()), KEEP)
    assert (photo.suffix, photo.width, photo.height) == ("jpg", 30, 20)
    assert photo.content == out.getvalue()
    assert photo.content.startswith(b"\xff\xd8\xff")


def test_a_format_that_the_shards_do_not_have(record, image):
    with pytest.raises(DatasetError, match="is GIF, and only JPEG and PNG are stored as they are"):
        read_photo(record(image(3, "GIF")), KEEP)


def test_a_picture_too_large_to_decode_is_refused_before_it_fills_the_memory(record, bomb):
    with pytest.raises(DatasetError, match=r"cannot be decoded .*decompression bomb"):
        read_photo(record(bomb), KEEP)


def test_unreadable(record, tmp_path):
    gone = record(b"x")
    (tmp_path / "x.jpg").unlink()
    with pytest.raises(
        DatasetError, match=re.escape("cannot be read (No such file or directory); check")
    ):
        read_photo(gone, KEEP)


@pytest.mark.parametrize("size, small", [((100, 50), (40, 20)), ((50, 75), (20, 30))])
@pytest.mark.parametrize("mode", ["RGB", "L", "P", "RGBA", "CMYK"])
def test_reduced_to_the_short_side(record, size, small, mode):
    out = io.BytesIO()
    kind = "TIFF" if mode == "CMYK" else "PNG"
    Image.new("RGB", size, (200, 10, 10)).convert(mode).save(out, kind)
    photo = read_photo(record(out.getvalue()), ResizeOptions(short_side=20))
    assert (photo.suffix, photo.width, photo.height) == ("jpg", *small)
    stored = Image.open(io.BytesIO(photo.content))
    assert (stored.format, stored.mode, stored.size) == ("JPEG", "RGB", small)


def test_a_photo_that_is_small_enough_keeps_its_bytes(record, image):
    assert read_photo(record(image(3)), ResizeOptions(short_side=20)).content == image(3)


def test_quality_counts(record, image):
    sizes = [
        len(read_photo(record(image(3)), ResizeOptions(short_side=16, quality=q)).content)
        for q in (30, 90)
    ]
    assert sizes[0] < sizes[1]


def test_orientation_is_applied_only_when_pixels_are_rewritten(record):
    tag = Image.Exif()
    tag[0x0112] = 6  # turn by 90 degrees
    out = io.BytesIO()
    Image.new("RGB", (60, 40)).save(out, "JPEG", exif=tag)
    kept = read_photo(record(out.getvalue()), KEEP)
    assert (kept.width, kept.height) == (60, 40)
    turned = read_photo(record(out.getvalue()), ResizeOptions(short_side=20))
    assert (turned.width, turned.height) == (20, 30)
