"""The entries of a tar that may come from anyone, without what such a tar could do to its reader.

`tarfile` believes what headers say: a negative size leads it backwards for ever, a large one makes
it ask for that much memory, a header before a header is read by recursion, and a long number is
searched again from each of its digits.
"""

import os
import re
import tarfile
from collections.abc import Iterator
from typing import BinaryIO, cast

_HEADER_BYTES = 1 << 20
"""Most that one header may bring along; the longest path of Linux takes 4 KiB."""
_ENDLESS_NUMBER = re.compile(rb"[0-9]{1000}")
_GLOBAL = 1000
"""Most settings that a tar may have for all its entries, which are copied for every entry."""


def entries(file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """Every entry of an open tar, in order; when they are read, the file stands at their end.

    Raises:
        tarfile.TarError: If it is damaged or cut off, or says what no tar can mean.
    """
    end = file.seek(0, os.SEEK_END)
    file.seek(0)
    try:
        source = cast(BinaryIO, _Headers(file))
        with tarfile.open(fileobj=source, mode="r:", encoding="utf-8") as tar:
            while (info := tar.next()) is not None:
                tar.members = []  # type: ignore[attr-defined]  # or it keeps them all
                _check(info, end)
                if len(tar.pax_headers) > _GLOBAL:
                    raise tarfile.ReadError(f"more than {_GLOBAL} settings for all entries")
                yield info
            file.seek(tar.offset)
    except (EOFError, ValueError, OverflowError) as error:
        raise tarfile.ReadError(f"a header that makes no sense: {error}"[:200]) from None
    except RecursionError:
        raise tarfile.ReadError("headers before headers, hundreds of them") from None


def _check(info: tarfile.TarInfo, end: int) -> None:
    if info.size < 0:
        raise tarfile.ReadError(f"{info.name!r} has a size of {info.size}")
    # A sparse file is larger than what is stored of it.
    if info.offset_data + (0 if info.issparse() or not info.isreg() else info.size) > end:
        raise tarfile.ReadError("unexpected end of data")


class _Headers:
    """A file of which only headers are read, as `tarfile` wants it."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file

    def read(self, size: int) -> bytes:
        if not 0 <= size <= _HEADER_BYTES:
            raise tarfile.ReadError(f"a header of {size} bytes")
        content = self._file.read(size)
        if _ENDLESS_NUMBER.search(content):
            raise tarfile.ReadError("a header with a number of a thousand digits")
        return content

    def seek(self, position: int) -> int:
        return self._file.seek(position)

    def tell(self) -> int:
        return self._file.tell()
