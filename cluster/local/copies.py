"""Copies of what a search's dashboards read, kept up to date while the search goes on.

TensorBoard reads S3 too, but never again after one fault. The study is copied from a folder as
well: optuna-dashboard can change and delete what it shows, and while it reads, nobody can write.
"""

import contextlib
import sqlite3
from pathlib import Path

from shown import STUDY

from retdm.errors import StorageError
from retdm.scratch import Scratch
from retdm.storage import Store
from retdm.storage.file import FileStore

_EVENTS = "events.out.tfevents."


def copy_events(store: Store, opening: str, to: Path) -> None:
    """Bring copies of all TensorBoard files up to date, below the folder `to`.

    Args:
        store: They are in.
        opening: Of their names.
        to: Exists.

    Raises:
        StorageError: If the storage does not answer.
    """
    for name in store.names(opening):
        size = store.size(name) if _EVENTS in name else None
        if size is None:
            continue
        copy = to / name
        copy.parent.mkdir(parents=True, exist_ok=True)
        known = copy.stat().st_size if copy.exists() else 0
        if size == known:
            continue
        # TensorBoard reads on in the file that it has open: what is new is added to it. Only a
        # file of a search that was deleted and begun anew is shorter than before.
        begin = known if size > known else 0
        content = store.read_range(name, begin, size - begin)
        with copy.open("ab" if begin else "wb") as file:
            file.write(content)


def copy_study(store: Store, to: Path) -> None:
    """Bring the copy `to` of a search's study up to date, as it was between two changes.

    Raises:
        StorageError: If the storage does not answer, or the file is damaged.
    """
    with contextlib.ExitStack() as stack:
        if isinstance(store, FileStore):
            path = store.path(STUDY)
        else:
            path = stack.enter_context(Scratch("study")) / STUDY
            store.download(STUDY, path)
        try:
            begun = sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)
            from_ = stack.enter_context(contextlib.closing(begun))
            copy = stack.enter_context(contextlib.closing(sqlite3.connect(to)))
            # Into the file that optuna-dashboard has open, by SQLite's own locks.
            from_.backup(copy)
        except sqlite3.Error as error:
            raise StorageError(
                f"{store.url}/{STUDY}: cannot be read as a study ({error}); see that it is whole"
            ) from error
