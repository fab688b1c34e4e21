"""Files of a store as files of this machine."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retdm.storage import Store
from retdm.storage.file import FileStore


@contextmanager
def local_copy(store: Store, name: str) -> Iterator[Path]:
    """The file itself if it is on this machine, else a copy for as long as the block runs."""
    if isinstance(store, FileStore):
        yield store.path(name)
        return
    with tempfile.TemporaryDirectory(prefix="retdm-shard-") as folder:
        path = Path(folder, "shard.tar")
        store.download(name, path)
        yield path
