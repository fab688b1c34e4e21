"""How readers find photos under the source folder and name their samples."""

import re
from pathlib import Path, PurePosixPath

from retdm.errors import DatasetError, shown

_UNSAFE = re.compile(r"[^\w-]")


def safe_key(text: str) -> str:
    """`text` as a sample key: '/' becomes "__", and all but letters, digits, '-', '_' becomes '_'.

    A stock WebDataset reader cuts a member's name at its first dot, and the offset index
    separates fields by blanks, so a key may hold neither. Names that fall together this way
    are reported as duplicate keys.
    """
    parts = text.replace("\\", "/").split("/")
    return "__".join(_UNSAFE.sub("_", part) for part in parts)


def key_of(name: str) -> str:
    """Sample key of a photo: its path without the suffix, made safe.

    Example:
        >>> key_of("train2014/COCO_train2014_000000000009.jpg")
        'train2014__COCO_train2014_000000000009'
        >>> key_of("holiday v1.2/beach.final.jpeg")
        'holiday_v1_2__beach_final'
    """
    path = PurePosixPath(name.replace("\\", "/"))
    return safe_key(str(path.with_suffix("")) if path.name else name)


def source_folder(source: Path) -> Path:
    """`source` itself, checked to be a folder.

    Raises:
        DatasetError: If it is not.
    """
    if not source.is_dir():
        raise DatasetError(f"--source {source}: no such folder; give the folder of the data set")
    return source


def inside(source: Path, *parts: str, where: str) -> Path:
    """Join `parts` to `source` and refuse to leave it.

    Annotation files come from elsewhere: without this, a crafted one could pack any image
    file of the machine.

    Raises:
        DatasetError: If a part is absolute or climbs with "..".
    """
    for part in parts:
        names = part.replace("\\", "/").split("/")
        if ".." in names or (len(names) > 1 and not names[0]):
            raise DatasetError(
                f"{where}: path {shown(part)} leaves the source folder; write it relative to "
                "--source"
            )
    return source.joinpath(*parts)


def photo(source: Path, folder: str, name: str, *, where: str, option: str) -> Path:
    """The photo called `name` in `folder`, checked to be a file.

    Args:
        source: The data set's folder.
        folder: Of the photos, relative to `source`; "" for the source itself.
        name: As the annotation file has it.
        where: Annotation file and row, for the error.
        option: Spec key that sets `folder`, for the error.

    Raises:
        DatasetError: If there is no such file, or the name leaves the source.
    """
    path = inside(source, folder, name, where=where)
    if not _is_file(path):
        at = inside(source, folder, where=where)
        raise DatasetError(
            f"{where}: photo {shown(name)} is not in {at}; copy it there, remove the row, "
            f"or set {option} to the folder of the photos"
        )
    return path


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a name longer than any file's
        return False


def read_bytes(path: Path, *, option: str) -> bytes:
    """Content of an annotation file.

    Raises:
        DatasetError: If it cannot be read; `option` is the spec key that names it.
    """
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DatasetError(
            f"{path}: no such annotation file; check --source, or set {option}"
        ) from None
    except (OSError, ValueError) as error:  # ValueError: a NUL in the name
        raise DatasetError(f"{path}: cannot be read ({error}); check {option}") from error
