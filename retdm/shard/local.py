"""Files of a store as they are there, for those who must report every fault of them.

What is not as expected is fetched again (see `retdm.data.verified`), and handed over at last.
"""

import hashlib
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from retdm.data.verified import ATTEMPTS, download_verified
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
    with tempfile.TemporaryFile() as file:
        # The file has no name, so that a killed program leaves none behind.
        path = Path(f"/proc/self/fd/{file.fileno()}")
        if sha256 is None:
            store.download(name, path)
        else:
            download_verified(store, name, path, sha256=sha256)
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
