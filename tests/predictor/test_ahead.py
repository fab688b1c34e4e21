"""Images are decoded ahead, in order, and not further than a few batches."""

import io
import threading

import numpy as np
import pytest
from PIL import Image

from retdm.data.decode import Decoder
from retdm.errors import BadSampleError, StorageError
from retdm.predictor.ahead import decode_ahead

DECODER = Decoder.of(image_size=16, resize=16, augment="none")


def photo(number):
    """Grey as its number."""
    return np.full((16, 16, 3), number, dtype=np.uint8)


@pytest.mark.parametrize("threads", [1, 3])
@pytest.mark.parametrize("batch_size, sizes", [(4, [4, 4, 2]), (10, [10]), (99, [10])])
def test_batches_are_in_order_whoever_decodes(threads, batch_size, sizes):
    batches = list(decode_ahead(range(10), photo, DECODER, batch_size=batch_size, threads=threads))
    assert [len(batch.items) for batch in batches] == sizes
    for batch in batches:
        assert batch.images[:, 0, 0, 0].tolist() == batch.items
        assert not batch.bad


def test_bytes_and_pixels_of_an_image_are_the_same_image():
    out = io.BytesIO()
    Image.fromarray(photo(77)).save(out, "PNG")
    (batch,) = decode_ahead(
        [out.getvalue(), photo(77)], lambda given: given, DECODER, batch_size=2, threads=1
    )
    assert (batch.images == 77).all()


def test_a_bad_image_is_black_and_told_and_the_others_are_there():
    def read(number):
        if number == 1:
            raise BadSampleError("is torn")
        return b"<html>" if number == 2 else photo(number)

    (batch,) = decode_ahead([3, 1, 2, 4], read, DECODER, batch_size=4, threads=2)
    assert batch.images[:, 0, 0, 0].tolist() == [3, 0, 0, 4]
    assert str(batch.bad[1]) == "is torn"
    assert str(batch.bad[2]).startswith("cannot be decoded (not an image)")
    assert batch.bad.keys() == {1, 2}


def test_an_error_of_reading_is_raised_and_ends_the_threads():
    def read(number):
        raise StorageError("gone")

    with pytest.raises(StorageError, match="gone"):
        list(decode_ahead(range(50), read, DECODER, batch_size=4, threads=2))
    assert not [t for t in threading.enumerate() if t.name.startswith("retdm-decode")]


def test_no_more_is_read_than_a_few_batches_ahead():
    read = []

    def note(number):
        read.append(number)
        return photo(number % 256)

    batches = decode_ahead(range(1000), note, DECODER, batch_size=10, threads=2)
    next(batches)
    batches.close()
    assert len(read) <= 30
