"""Files of a store as they are there, for those who must report every fault of them.

A network damages some of what it carries, and then differently each time: what is not as expected
is fetched again until it is, or until the same bytes came twice.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retdm.data.verified import ATTEMPTS
from retdm.storage import Store
from retdm.storage.file import FileStore


@contextmanager
def local_copy(store: Store, name: str, *, sha256: str | None = None) -> Iterator[Path]:
    """The file itself if it is on this machine, else a copy for as long as the block runs.

    Args:
        store: Where it is.
        name: Of the file.
        sha256: What its digest should be, hex; None if nobody knows.
    """
    if isinstance(store, FileStore):
        yield store.path(name)
        return
    with tempfile.TemporaryDirectory(prefix="retdm-shard-") as folder:
        path = Path(folder, "shard.tar")
        seen = {sha256}
        for _ in range(ATTEMPTS):
            store.download(name, path)
            if sha256 is None or (found := _digest(path)) in seen:
                break
            seen.add(found)
        yield path


def stored_bytes(store: Store, name: str, *, sha256: str) -> bytes:
    """The content of a small file, of which `sha256` is what the digest should be, hex."""
    seen = {sha256}
    for _ in range(ATTEMPTS):
        content = store.read(name)
        found = hashlib.sha256(content).hexdigest()
        if found in seen:
            break
        seen.add(found)
    return content


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
