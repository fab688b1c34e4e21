"""Reads an archive of `torch.save` that may come from anyone, without executing anything in it."""

import zipfile
from pathlib import Path
from typing import Any

import torch


def load_archive(path: Path, *, map_location: torch.device | str) -> Any:
    """The tensors and plain values in a file.

    Raises:
        FileNotFoundError: If there is none.
        ValueError: If it is damaged, holds anything else, or grows when it is unpacked.
    """
    try:
        _check(path)
        return torch.load(path, map_location=map_location, weights_only=True)
    except FileNotFoundError:
        raise
    # Bytes that are no pickle can make the unpickler fail in any way at all.
    except Exception as error:
        raise ValueError(str(error) or type(error).__name__) from error


def _check(path: Path) -> None:
    """See that it is what `torch.save` writes today.

    torch also reads three older formats, and compressed archives, which could grow a thousandfold.
    """
    with zipfile.ZipFile(path) as archive:
        members = archive.infolist()
    if any(member.compress_type != zipfile.ZIP_STORED for member in members):
        raise ValueError("it is compressed, which torch.save never does")
    if sum(member.file_size for member in members) > path.stat().st_size:
        raise ValueError("its parts claim to be larger than the whole")
