"""The files that are asked for: written aside, and put in their places when they are whole."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import TracebackType

from retdm.errors import ConfigError, StorageError
from retdm.predict.asked import Format
from retdm.predict.formats import Csv, JsonLines, Parquet, Writer
from retdm.predict.rows import Row
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.storage.place import open_file_to_write

_WRITERS: dict[Format, type[Writer]] = {"json": JsonLines, "csv": Csv, "parquet": Parquet}


def targets(given: Mapping[Format, str]) -> dict[Format, tuple[Store, str]]:
    """Where the file of each format goes.

    Args:
        given: By format, a path or s3:// URL.

    Raises:
        ConfigError: If it is a folder, or below a file, or two are the same.
    """
    found: dict[Format, tuple[Store, str]] = {}
    for kind, url in given.items():
        store, name = open_file_to_write(url, option=f"--{kind}")
        for other, (there, taken) in found.items():
            if (there.url, taken) == (store.url, name):
                raise ConfigError(f"--{other} and --{kind} are one file, {url}; name two")
        found[kind] = store, name
    return found


class Outputs:
    """Writes rows in several formats at once; a context manager.

    The files take their places when the block ends, and only if without error.

    Args:
        places: From `targets`.
        labels: In the order of the scores.
    """

    def __init__(self, places: Mapping[Format, tuple[Store, str]], labels: Sequence[str]) -> None:
        self._places = places
        self._labels = labels

    def __enter__(self) -> "Outputs":
        self._scratch = Scratch("predict")
        self._writers = {
            kind: _WRITERS[kind](self._scratch.path / kind, self._labels) for kind in self._places
        }
        return self

    def write(self, row: Row) -> None:
        """Add a row to each file.

        Raises:
            StorageError: If there is no room for it.
        """
        with self._said():
            for writer in self._writers.values():
                writer.write(row)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            with self._said():
                for writer in self._writers.values():
                    writer.close()
            if error is None:
                for name, (store, file) in self._places.items():
                    store.write(file, self._scratch.path / name)
        finally:
            self._scratch.close()

    @contextmanager
    def _said(self) -> Iterator[None]:
        """Tell of a full disk as people want to hear it."""
        try:
            yield
        except OSError as error:
            raise StorageError(
                f"rows cannot be written to {self._scratch.path} ({error.strerror or error}); "
                "free some space there, or set TMPDIR to another folder"
            ) from error
