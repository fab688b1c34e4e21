"""What may be at a URL before a folder is made there."""

from pathlib import Path

from retdm.errors import ConfigError
from retdm.storage import Store
from retdm.storage.file import FileStore


def refuse_file(store: Store, *, given: str) -> None:
    """Make sure that there is no file where the folder is, or any folder above it.

    Args:
        store: The place.
        given: What the user gave it as, for the error.

    Raises:
        ConfigError: Names the file.
    """
    if not isinstance(store, FileStore):
        return
    for path in (store.root, *store.root.parents):
        if path.exists() and not path.is_dir():
            raise ConfigError(f"{given}: {path} is a file, not a folder; {_remedy(path)}")


def _remedy(path: Path) -> str:
    if path.suffix == ".tar":
        return "give the folder that the tar lies in, or another one"
    return "give another folder, or move the file away"
