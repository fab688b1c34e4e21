"""A folder on this machine or on a mounted file system."""

import os
import re
import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from retdm.errors import NotFoundError, ShortFileError, StorageError
from retdm.storage.protocol import check_name

_UNFINISHED = re.compile(r"\..+\.[0-9a-f]{32}\.part", re.DOTALL)
"""Names under which `write` works before it renames."""


@dataclass(frozen=True)
class FileStore:
    """Files below `root`, which is created by the first write."""

    root: Path

    @property
    def url(self) -> str:
        """The folder's absolute path."""
        return str(self.root)

    def path(self, name: str) -> Path:
        """The local file called `name`, whether it exists or not."""
        return self.root / check_name(self.url, name)

    def read(self, name: str) -> bytes:
        """The whole file."""
        with self._explained(name):
            return self.path(name).read_bytes()

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Exactly `size` bytes from `start`."""
        path = f"{self.url}/{check_name(self.url, name)}"  # a Path costs more than the read
        with self._explained(name):
            handle = os.open(path, os.O_RDONLY)
            try:
                content = os.pread(handle, size, start)
            finally:
                os.close(handle)
        if len(content) != size:
            raise ShortFileError(
                f"{self.url}/{name}: {len(content)} bytes at offset {start} where {size} were "
                "wanted; the file is shorter than its index says: copy or build it again"
            )
        return content

    def write(self, name: str, content: bytes | Path) -> None:
        """Write beside the target, then rename over it."""
        with self.writing(name) as file:
            if isinstance(content, Path):
                with content.open("rb") as source:
                    shutil.copyfileobj(source, file, 1 << 20)
            else:
                file.write(content)

    @contextmanager
    def writing(self, name: str) -> Iterator[BinaryIO]:
        """A file to fill, which takes its name when the block ends, and only if without error."""
        path = self.path(name)
        with self._explained(name):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex}.part")
            try:
                with temporary.open("xb", buffering=1 << 20) as file:
                    yield file
                    file.flush()
                    # Without this a power cut after the rename can leave an empty file.
                    os.fsync(file.fileno())
                os.replace(temporary, path)
            except BaseException:
                temporary.unlink(missing_ok=True)
                raise

    def download(self, name: str, to: Path) -> None:
        """Copy the file to `to`."""
        with self._explained(name):
            shutil.copyfile(self.path(name), to)

    def size(self, name: str) -> int | None:
        """Bytes of the file, or None."""
        path = self.path(name)
        with self._explained(name):
            return path.stat().st_size if path.is_file() else None

    def names(self, prefix: str = "") -> list[str]:
        """Names of all files below the root that start with `prefix`."""
        if prefix:
            check_name(self.url, prefix)
        top = self.root / prefix.rpartition("/")[0]
        found = []
        for folder, _, files in os.walk(top):
            relative = Path(folder).relative_to(self.root)
            found += [
                (relative / file).as_posix() for file in files if not _UNFINISHED.fullmatch(file)
            ]
        return sorted(name for name in found if name.startswith(prefix))

    def sweep(self) -> None:
        """Remove what killed writes left, which `names` does not list; no one may be writing."""
        for folder, _, files in os.walk(self.root):
            for file in filter(_UNFINISHED.fullmatch, files):
                self.delete((Path(folder).relative_to(self.root) / file).as_posix())

    def delete(self, name: str) -> None:
        """Remove the file if it is there."""
        with self._explained(name):
            self.path(name).unlink(missing_ok=True)

    @contextmanager
    def _explained(self, name: str) -> Iterator[None]:
        try:
            yield
        except (FileNotFoundError, NotADirectoryError):
            raise NotFoundError(
                f"{self.url}/{name}: no such file; check the path, and that the file system is "
                "mounted on this machine"
            ) from None
        except OSError as error:
            reason = error.strerror or str(error)
            raise StorageError(
                f"{self.url}/{name}: {reason}; check permissions and free space"
            ) from error
