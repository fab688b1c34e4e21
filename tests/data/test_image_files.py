"""Which image files are opened at all."""

import io
from collections.abc import Callable

import pytest
from PIL import Image, UnidentifiedImageError

from retdm.data.image_files import DAMAGE, FORMATS, open_image, refuse_scans


def _saved(kind: str, **options: object) -> bytes:
    out = io.BytesIO()
    Image.new("RGB", (30, 20)).save(out, kind, **options)
    return out.getvalue()


@pytest.mark.parametrize("kind", FORMATS)
def test_formats_of_photos_are_opened(kind: str) -> None:
    assert open_image(_saved(kind)).size == (30, 20)


@pytest.mark.parametrize("kind", ["EPS", "PCX", "TGA", "ICO"])
def test_other_formats_are_not_looked_at(kind: str) -> None:
    with pytest.raises(UnidentifiedImageError):
        open_image(_saved(kind))
    assert issubclass(UnidentifiedImageError, DAMAGE)


def test_a_size_that_pillow_only_warns_of_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 400)
    with pytest.raises(
        ValueError,
        match=r"^30x20 pixels, which could be a decompression bomb; at most 400 are decoded$",
    ):
        open_image(_saved("PNG"))


def _drawn(times: int) -> bytes:
    """A progressive JPEG whose last scan is there so many times."""
    content = _saved("JPEG", progressive=True)
    scan = content[content.rindex(b"\xff\xda") : -2]
    return content[:-2] + scan * (times - 1) + content[-2:]


@pytest.mark.parametrize("refuse", [open_image, refuse_scans])
def test_a_jpeg_that_is_drawn_thousands_of_times_is_refused(
    refuse: Callable[[bytes], object],
) -> None:
    refuse(_drawn(50))
    with pytest.raises(ValueError, match=r"10\d\d scans, which could be a decompression bomb"):
        refuse(_drawn(1000))


def test_bytes_behind_a_jpeg_that_look_like_scans_do_not_count() -> None:
    film = b"\xff\xda\x00\x04ab" * 500
    refuse_scans(_saved("JPEG") + film)
    refuse_scans(b"\x89PNG" + film)
