"""The arrays of an .npz archive that may come from anyone."""

import os
import tokenize
import zipfile
import zlib
from collections.abc import Collection
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt

_GROWTH = 200
"""Most bytes in memory for each of the file: compressed scores of use are far below."""
_ALWAYS_BYTES = 64 << 20

# What a damaged archive raises depends on which of its bytes are wrong; MemoryError comes from a
# header that claims more cells than there can be.
_DAMAGE = (
    *(ValueError, OSError, EOFError, LookupError, RuntimeError, SyntaxError, TypeError),
    *(ArithmeticError, MemoryError, tokenize.TokenError, zipfile.BadZipFile, zlib.error),
)


def read_npz(
    file: BinaryIO, *, only: Collection[str] | None = None
) -> tuple[dict[str, npt.NDArray[Any]], list[str]]:
    """Read arrays without executing anything: pickled (object) arrays are refused.

    Args:
        file: The archive, seekable.
        only: Names of the arrays to read, those that are there; None: all.

    Returns:
        The arrays by name; and the names of all that are in the archive.

    Raises:
        ValueError: If it is damaged, or its arrays grow absurdly when unpacked.
    """
    try:
        size = file.seek(0, os.SEEK_END)
        file.seek(0)
        with np.load(file, allow_pickle=False) as archive:
            found = list(archive.files)
            chosen = [name for name in found if only is None or name in only]
            needed = {name for array in chosen for name in (array, f"{array}.npy")}
            infos = [info for info in archive.zip.infolist() if info.filename in needed]
            grown = sum(info.file_size for info in infos)
            if grown > _ALWAYS_BYTES + _GROWTH * size:
                raise ValueError(
                    f"its {size} bytes grow to {grown}, which could be a decompression bomb"
                )
            return {name: archive[name] for name in chosen}, found
    except _DAMAGE as error:
        raise ValueError(str(error) or type(error).__name__) from error
