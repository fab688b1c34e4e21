"""What every storage backend offers: whole files by name under one root."""

from pathlib import Path
from typing import Protocol

from retdm.errors import StorageError


class Store(Protocol):
    """A root under which files have relative names such as "train/000000.tar".

    A store holds no open connection of its own, so it can be pickled and sent to other
    processes, and any number of threads may use it at once. Nothing is contacted before the
    first call. Every method raises `StorageError` naming the URL, the cause and the remedy; it is
    a `TransientStorageError` where the same call may succeed later.
    """

    @property
    def url(self) -> str:
        """Where the root is, without a trailing slash."""

    def read(self, name: str) -> bytes:
        """The whole file; `NotFoundError` if it does not exist."""

    def read_range(self, name: str, start: int, size: int) -> bytes:
        """Exactly `size` bytes from offset `start`; `ShortFileError` if there are fewer."""

    def write(self, name: str, content: bytes | Path) -> None:
        """Create or replace a file; readers see the old or the new whole, never a part.

        Args:
            name: Where to; folders are made as needed, buckets never.
            content: The bytes, or a local file whose bytes are sent.
        """

    def download(self, name: str, to: Path) -> None:
        """Copy into the local file `to`, which on failure may be left incomplete."""

    def size(self, name: str) -> int | None:
        """Bytes of the file; None if it does not exist."""

    def names(self, prefix: str = "") -> list[str]:
        """All names that start with `prefix`, in all folders below, sorted."""

    def delete(self, name: str) -> None:
        """Remove the file; no error if there is none."""


def check_name(url: str, name: str) -> str:
    """Return `name` if it stays under the root; manifests come from outside, so names may lie.

    Raises:
        StorageError: If it is empty, absolute, or climbs with "..".
    """
    if not name or name.startswith("/") or ".." in name.split("/") or "\0" in name:
        raise StorageError(f"{url}: {name!r} is not a name below this root; use a relative name")
    return name
