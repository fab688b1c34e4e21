"""What is counted of the traffic with S3."""

import os

import pytest

from retdm.counts import COUNTS
from retdm.storage import open_store, s3_parts


@pytest.fixture
def counted():
    """This process counts from 0."""
    COUNTS.take()


def test_bytes_from_and_to_s3_are_counted_whole_and_in_parts(s3, tmp_path, monkeypatch, counted):
    monkeypatch.setattr(s3_parts, "_DOWNLOAD_BYTES", 1000)
    store, content = open_store(s3.url()), os.urandom(3500)
    store.write("x", content)
    assert COUNTS.of("s3_written_bytes") == 3500
    store.read("x")
    assert COUNTS.of("s3_read_bytes") == 3500
    store.download("x", tmp_path / "x")
    store.read_range("x", 10, 20)
    assert COUNTS.of("s3_read_bytes") == 7020
    assert COUNTS.of("s3_retries") == 0


def test_a_large_upload_counts_its_parts(s3, tmp_path, counted):
    size = s3_parts.UPLOAD_BYTES + 100
    (tmp_path / "large").write_bytes(bytes(size))
    open_store(s3.url()).write("large", tmp_path / "large")
    assert COUNTS.of("s3_written_bytes") == size


def test_calls_that_are_made_again_are_counted(s3, faults, monkeypatch, counted):
    monkeypatch.setattr("retdm.storage.patience._FIRST_PAUSE_S", 0.05)
    store = open_store(s3.url())
    faults.inject("503", 0.4)
    for number in range(8):
        store.write(str(number), b"x")
    assert COUNTS.of("s3_retries") == faults.injected["503"] > 0
