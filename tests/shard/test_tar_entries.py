"""Tars whose headers lie."""

import io
import tarfile

import pytest

from retdm.shard.tar_entries import entries

BLOCK = 512


def _entry(kind, name, data=b"", *, size=None):
    """A header and what it holds; `size` is what it says instead."""
    header = bytearray(tarfile.TarInfo(name).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"%011o\0" % len(data)
    if size is not None:
        header[124:136] = (b"\xff" if size < 0 else b"\x80") + (size % 2**88).to_bytes(11, "big")
    header[156] = ord(kind)
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header) + data + bytes(-len(data) % BLOCK)


def _read(*parts):
    return list(entries(io.BytesIO(b"".join(parts) + bytes(2 * BLOCK))))


def test_entries_of_all_kinds_come_in_order_and_the_file_stands_at_their_end():
    file = io.BytesIO(_entry("0", "a", b"123") + _entry("2", "b") + _entry("5", "c") + bytes(1024))
    assert [(info.name, info.size) for info in entries(file)] == [("a", 3), ("b", 0), ("c", 0)]
    assert file.tell() == 4 * BLOCK


@pytest.mark.parametrize("size", [-1, -512, -1024, -(2**62)])
def test_a_negative_size_does_not_lead_backwards(size):
    with pytest.raises(tarfile.TarError, match=rf"'b' has a size of {size}"):
        _read(_entry("0", "a"), _entry("0", "b", size=size))


@pytest.mark.parametrize("size", [1537, 2**40, 2**63, 2**80])
def test_a_size_beyond_the_end_is_noticed_at_the_file_itself(size):
    with pytest.raises(tarfile.TarError, match="unexpected end of data"):
        next(entries(io.BytesIO(_entry("0", "a", b"1", size=size) + bytes(2 * BLOCK))))


@pytest.mark.parametrize("kind", "xgLK")
@pytest.mark.parametrize("size", [-512, 2 << 20, 2**80])
def test_a_header_is_not_read_into_memory_whatever_it_says(kind, size):
    with pytest.raises(tarfile.TarError, match=r"a header of -?\d+ bytes"):
        _read(_entry(kind, "h", size=size))


@pytest.mark.parametrize("kind", "xgLK")
def test_headers_before_headers_are_damage(kind):
    with pytest.raises(tarfile.TarError, match="headers before headers, hundreds of them"):
        _read(_entry(kind, "h", b"9 a=12345\n"[:9]) * 3000, _entry("0", "a"))


def test_settings_for_all_entries_are_not_collected_without_end():
    one = [_entry("g", "h", b"%d k%06d=\n" % (12, n)) + _entry("0", "a") for n in range(1002)]
    with pytest.raises(tarfile.TarError, match="more than 1000 settings for all entries"):
        _read(*one)


def test_a_number_that_would_be_searched_again_from_each_digit_is_damage():
    with pytest.raises(tarfile.TarError, match="a header with a number of a thousand digits"):
        _read(_entry("x", "h", b"7" * (1 << 19)), _entry("0", "a"))


@pytest.mark.parametrize("record", [b"22 GNU.sparse.map=1,x\n", b"30 GNU.sparse.map=1,2,\n"])
def test_records_that_make_no_sense_are_damage(record):
    with pytest.raises(tarfile.TarError, match="a header that makes no sense: invalid literal"):
        _read(_entry("x", "h", record), _entry("0", "a"))
