"""What may be at a URL before a folder or a file is made there."""

from pathlib import Path

from retdm.errors import ConfigError
from retdm.storage import Store, open_file
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


def open_file_to_write(url: str, *, option: str) -> tuple[Store, str]:
    """As `open_file`, of a local file only if it could be written: before the work it is to hold.

    Args:
        url: Path or URL of the file.
        option: The user gave it by, for the error.

    Raises:
        ConfigError: If it is a folder, or below a file.
    """
    store, name = open_file(url)
    refuse_file(store, given=f"{option} {url}")
    if isinstance(store, FileStore) and store.path(name).is_dir():
        raise ConfigError(f"{option} {url} is a folder; give a file in it")
    return store, name


def _remedy(path: Path) -> str:
    if path.suffix == ".tar":
        return "give the folder that the tar lies in, or another one"
    return "give another folder, or move the file away"
