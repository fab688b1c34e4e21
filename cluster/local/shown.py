"""What there is to show of a folder that a search or a run wrote."""

from collections.abc import Mapping
from dataclasses import dataclass

from retdm.errors import ConfigError
from retdm.storage import Store, open_store
from retdm.storage.file import FileStore

STUDY = "study.db"
"""The study of a search, unless it is in a database of a team's."""


@dataclass(frozen=True)
class Shown:
    """What there is to show of a search or a run."""

    store: Store
    """Its folder."""
    is_run: bool
    own_study: bool
    """Whether the study is a file in the folder."""
    study_url: str
    """Database of the study otherwise; "" if there is none, or it was not named."""

    @property
    def events(self) -> str:
        """Folder of TensorBoard's files, below its own."""
        return "tensorboard" if self.is_run else "tune"


def look(store: Store, study_url: str, env: Mapping[str, str]) -> Shown:
    """See what a folder is of.

    Args:
        store: The folder.
        study_url: Database of a search's study, if it was named.
        env: May name one for searches whose folder has no study.

    Raises:
        ConfigError: If it is neither a search's nor a run's.
        StorageError: If the storage does not answer.
    """
    if store.size("run.json") is not None:
        return Shown(store, is_run=True, own_study=False, study_url="")
    if not study_url and store.size(STUDY) is not None:
        return Shown(store, is_run=False, own_study=True, study_url="")
    study_url = study_url or env.get("RETDM_STUDY", "")
    if not study_url and store.size("tune.json") is None:
        raise ConfigError(
            f"{store.url}: neither a search nor a run; give the folder that jobs/tune.py or "
            "jobs/train.py wrote, STORAGE/RUN_NAME"
        )
    return Shown(store, is_run=False, own_study=False, study_url=study_url)


def newest_search(storage: str) -> str:
    """The folder below `storage` whose `tune.json` is the newest.

    Raises:
        ConfigError: If there is none, or times are not known there.
    """
    store = open_store(storage)
    if not isinstance(store, FileStore):
        raise ConfigError(f"which search of {store.url}? Name one: {store.url}/RUN_NAME")
    found = list(store.root.glob("*/tune.json"))
    if not found:
        raise ConfigError(
            f"{store.url}: no search in it that has tune.json; name the folder of a search or a "
            "run, STORAGE/RUN_NAME"
        )
    return str(max(found, key=lambda path: path.stat().st_mtime).parent)
