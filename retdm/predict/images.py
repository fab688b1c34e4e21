"""The image files that a command line means: files, folders and s3:// URLs of both."""

import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from retdm.data.manifest import MANIFEST
from retdm.errors import ConfigError, NotFoundError, RetdmError, StorageError
from retdm.storage import Store, join_url, open_file, open_store
from retdm.storage.file import FileStore

SUFFIXES = (
    *(".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff"),
    *(".ppm", ".jp2", ".avif"),
)
"""By which images are known in a folder, in whatever case."""


@dataclass(frozen=True, slots=True)
class ImageFile:
    """One image file, yet to be read."""

    name: str
    """As the command line has it; one in a folder with the folder's before."""
    store: Store
    file: str
    """Its name in the store."""

    def read(self) -> bytes:
        """Its bytes.

        Raises:
            StorageError: If it cannot be read.
        """
        return self.store.read(self.file)


def find_images(given: Iterable[str]) -> list[ImageFile]:
    """All image files that are meant, each once, in the order given; of a folder sorted by name.

    A file that is named itself may have any suffix; an s3:// URL without one of `SUFFIXES` is a
    prefix, as one with a slash at its end is. @FILE stands for what the lines of a text file name,
    in which @ means nothing.

    Raises:
        NotFoundError: If there is no such file, or no image in a folder or under a prefix.
        ConfigError: If a text file names nothing.
        StorageError: If the storage or a text file cannot be read.
    """
    found = (one for name in given for one in _listed_or_meant(name))
    return list({f"{one.store.url}/{one.file}": one for one in found}.values())


def _listed_or_meant(name: str) -> Iterator[ImageFile]:
    if not name.startswith("@"):
        yield from _meant(name)
        return
    lines = _lines(name[1:])
    if not lines:
        raise ConfigError(f"{name}: no line of the file names an image; write one name a line")
    for number, line in lines.items():
        try:
            yield from _meant(line)
        except RetdmError as error:
            raise type(error)(f"{name[1:]}, line {number}: {error}") from error


def _lines(path: str) -> dict[int, str]:
    """By number from 1 on; without blank ones."""
    try:
        with open(path, encoding="utf-8", errors="surrogateescape") as file:
            lines = [line.removesuffix("\n") for line in file]
    except OSError as error:
        raise StorageError(
            f"@{path}: cannot read the file of names ({error.strerror}); check the path; an "
            "image whose own name begins with @ is ./@NAME"
        ) from error
    return {number: line for number, line in enumerate(lines, start=1) if line.strip()}


def _meant(url: str) -> Iterator[ImageFile]:
    folder = open_store(url)
    if isinstance(folder, FileStore):
        single = not folder.root.is_dir()
        if single and not folder.root.is_file():
            raise NotFoundError(f"{url}: no such file or folder; check the path")
    else:
        single = _is_image(url) and not url.endswith("/")
    if single:
        store, name = open_file(url)
        yield ImageFile(_written(url), store, name)
        return
    names = folder.names()
    images = [name for name in names if _is_image(name)]
    if not images:
        raise NotFoundError(f"{url}: {_nothing(names)}")
    for name in images:
        yield ImageFile(_written(join_url(url, name)), folder, name)


def _is_image(name: str) -> bool:
    return PurePosixPath(name).suffix.lower() in SUFFIXES


def _nothing(names: list[str]) -> str:
    if MANIFEST in names:
        return "this is a shard set; add --split NAME to predict one of its splits"
    return f"no image here (no name ends with {', '.join(SUFFIXES)}); check the path"


def _written(name: str) -> str:
    r"""A name that every file can hold: one that is not UTF-8 with its bytes as \xNN."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")
