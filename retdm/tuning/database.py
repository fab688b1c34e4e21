"""Where the study of a search is: a file beside its runs, or a database that a team shares.

The file is SQLite, which needs a real file: with runs in a folder it lies there, in use; with runs
on S3 it lies in a temporary folder, and a copy of it goes to S3 after each change.
"""

import contextlib
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import optuna

from retdm.errors import CheckpointError, shown
from retdm.evaluation.table import lower_is_better
from retdm.scratch import Scratch
from retdm.shown_url import shown_url
from retdm.storage import Store
from retdm.storage.file import FileStore
from retdm.tuning.connection import explained, has_studies, open_storage

FILE = "study.db"
ABOUT = "retdm"
"""Attribute of the study: what makes it this search."""
Resume = Literal["auto", "never", "must"]


class Database:
    """Of one search: its study, and how a change of it comes to outlive this program."""

    def __init__(self, url: str, *, where: str = "", copy: Store | None = None) -> None:
        """Open it, and make its tables if it has none.

        Args:
            url: As SQLAlchemy takes it.
            where: What errors call it; "": its URL.
            copy: Where the file goes after each change; None: nowhere.

        Raises:
            ConfigError: If the URL is none, or its driver is not installed.
            StorageError: If the database does not answer, or is none of optuna's.
        """
        self.where = where or shown_url(url)
        """What errors call it."""
        self._url, self._copy = url, copy
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = open_storage(url, self.where)

    def known(self, name: str, about: Mapping[str, object], resume: Resume) -> optuna.Study | None:
        """The search's study if there is one; nothing is changed.

        Args:
            name: Of the search.
            about: What makes it this search, as JSON.
            resume: What to do about an earlier one.

        Raises:
            CheckpointError: If `resume` forbids or misses an earlier one, or it is another search.
        """
        with explained(self.where):
            known = name in optuna.get_all_study_names(self._storage)
            where = f"study {name} in {self.where}"
            if known and resume == "never":
                raise CheckpointError(
                    f"{where}: a search of this name exists; choose another --run-name, or go on "
                    "with it by --resume auto"
                )
            if not known and resume == "must":
                raise CheckpointError(
                    f"{where}: no search of this name to go on with; check --storage and "
                    "--run-name, or start it with --resume auto"
                )
            if not known:
                return None
            study = optuna.load_study(storage=self._storage, study_name=name)
            if ABOUT in study.user_attrs or study.get_trials(deepcopy=False):
                _check(study.user_attrs.get(ABOUT, {}), about, where)
        return study

    def study(
        self, name: str, metrics: tuple[str, ...], about: Mapping[str, object], resume: Resume
    ) -> optuna.Study:
        """The search's study; a new one if there is none.

        Args:
            name: Of the search.
            metrics: What its trials are to be good at.
            about: As in `known`.
            resume: As in `known`.

        Raises:
            CheckpointError: As `known` does.
        """
        self.known(name, about, resume)
        with explained(self.where):
            study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=["minimize" if lower_is_better(one) else "maximize" for one in metrics],
                load_if_exists=True,
            )
            if ABOUT not in study.user_attrs and not study.get_trials(deepcopy=False):
                with warnings.catch_warnings():
                    warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
                    study.set_metric_names(list(metrics))
                study.set_user_attr(ABOUT, dict(about))
                self.save()
        return study

    def save(self) -> None:
        """Let what was changed outlive this program.

        Raises:
            StorageError: If the storage does not take it.
        """
        if self._copy is not None:
            with Scratch("study") as folder:
                _copy_file(Path(self._url.removeprefix("sqlite:///")), folder / FILE)
                self._copy.write(FILE, folder / FILE)

    def close(self) -> None:
        """Let go of its connections."""
        self._storage.engine.dispose()


def _copy_file(path: Path, to: Path) -> None:
    """Copy a file of SQLite's as it was between two changes; it may be in the middle of one."""
    with (
        # Not made if it is missing.
        contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=rw", uri=True)) as from_,
        contextlib.closing(sqlite3.connect(to)) as copy,
    ):
        from_.backup(copy)


@contextlib.contextmanager
def open_database(store: Store, url: str) -> Iterator[Database]:
    """The database of the search whose folder `store` is.

    Args:
        store: Nobody else writes to it.
        url: Of a shared database; "": a file in the store.

    Raises:
        RetdmError: As `Database` does.
    """
    with contextlib.ExitStack() as stack:
        where, copy = "" if url else f"{store.url}/{FILE}", None
        if not url and isinstance(store, FileStore):
            path = store.path(FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{path}"
        elif not url:
            path, copy = stack.enter_context(Scratch("search")) / FILE, store
            if store.size(FILE) is not None:
                store.download(FILE, path)
            url = f"sqlite:///{path}"
        database = Database(url, where=where, copy=copy)
        yield stack.enter_context(contextlib.closing(database))


@contextlib.contextmanager
def look_into(store: Store, url: str) -> Iterator[Database]:
    """What `open_database` would open, to be read: nothing is made or changed.

    Args:
        store: Of the search; another program may be writing to it.
        url: Of a shared database; "": a file in the store.

    Raises:
        RetdmError: As `Database` does.
    """
    where = shown_url(url) if url else f"{store.url}/{FILE}"
    with Scratch("search") as folder, contextlib.ExitStack() as stack:
        copy = folder / FILE
        if not url and store.size(FILE) is not None:
            if isinstance(store, FileStore):
                with explained(where):
                    _copy_file(store.path(FILE), copy)
            else:
                store.download(FILE, copy)
        # Tables that are missing are made in the copy, or in an empty file.
        if not (url and has_studies(url)):
            url = f"sqlite:///{copy}"
        yield stack.enter_context(contextlib.closing(Database(url, where=where)))


def _check(before: Mapping[str, object], now: Mapping[str, object], where: str) -> None:
    differing = [
        f"{key}: {shown(before.get(key))} -> {shown(now.get(key))}"
        for key in sorted(before.keys() | now.keys())
        if before.get(key) != now.get(key)
    ]
    if differing:
        raise CheckpointError(
            f"{where}: of another search ({'; '.join(differing)}); use another --run-name, or "
            "the same settings as before"
        )
