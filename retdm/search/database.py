"""Where the study of a search is: a file beside its runs, or a database that a team shares.

The file is SQLite, which needs a real file: with runs in a folder it lies there, in use; with runs
on S3 it lies in a temporary folder, and a copy of it goes to S3 after each change.
"""

import contextlib
import importlib.util
import sqlite3
import warnings
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Literal

import optuna
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from retdm.errors import CheckpointError, ConfigError, StorageError, shown
from retdm.evaluation.table import lower_is_better
from retdm.scratch import Scratch
from retdm.shown_url import shown_url
from retdm.storage import Store
from retdm.storage.file import FileStore

FILE = "study.db"
ABOUT = "retdm"
"""Attribute of the study: what makes it this search."""
Resume = Literal["auto", "never", "must"]


class Database:
    """Of one search: its study, and how a change of it comes to outlive this program."""

    def __init__(self, url: str, copy: Store | None = None) -> None:
        """Open it, and make its tables if it has none.

        Args:
            url: As SQLAlchemy takes it.
            copy: Where the file goes after each change; None: nowhere.

        Raises:
            ConfigError: If the URL is none, or its driver is not installed.
            StorageError: If the database does not answer, or is none of optuna's.
        """
        self.url, self._copy = url, copy
        """As SQLAlchemy takes it, password included."""
        optuna.logging.set_verbosity(optuna.logging.WARNING)
        self._storage = _opened(url)

    def study(
        self, name: str, metrics: tuple[str, ...], about: Mapping[str, object], resume: Resume
    ) -> optuna.Study:
        """The search's study; a new one if there is none.

        Args:
            name: Of the search.
            metrics: What its trials are to be good at.
            about: What makes it this search, as JSON.
            resume: What to do about an earlier one.

        Raises:
            CheckpointError: If `resume` forbids or misses an earlier one, or it is another search.
        """
        with explained(self.url):
            known = name in optuna.get_all_study_names(self._storage)
            where = f"study {name} in {shown_url(self.url)}"
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
            study = optuna.create_study(
                storage=self._storage,
                study_name=name,
                directions=["minimize" if lower_is_better(one) else "maximize" for one in metrics],
                load_if_exists=True,
            )
            if ABOUT in study.user_attrs or study.get_trials(deepcopy=False):
                _check(study.user_attrs.get(ABOUT, {}), about, where)
            else:
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
            path = Path(self.url.removeprefix("sqlite:///"))
            with Scratch("study") as folder:
                # The file itself may be in the middle of a change.
                with (
                    contextlib.closing(sqlite3.connect(path)) as from_,
                    contextlib.closing(sqlite3.connect(folder / FILE)) as to,
                ):
                    from_.backup(to)
                self._copy.write(FILE, folder / FILE)

    def close(self) -> None:
        """Let go of its connections."""
        self._storage.engine.dispose()


def with_driver(url: str) -> str:
    """The URL with the installed driver of PostgreSQL, unless it names one.

    Without any, releases of SQLAlchemy take different ones.
    """
    opening, mark, rest = url.partition("://")
    for driver in ("psycopg", "psycopg2"):
        if opening == "postgresql" and importlib.util.find_spec(driver):
            return f"postgresql+{driver}{mark}{rest}"
    return url


def _opened(url: str) -> optuna.storages.RDBStorage:
    """The database at the URL, with optuna's tables in it.

    Raises:
        ConfigError: If the URL is wrong, or a driver is missing.
        StorageError: If the database does not answer, or is none of optuna's.
    """
    where = shown_url(url)
    try:
        with explained(url):
            return optuna.storages.RDBStorage(with_driver(url))
    except ImportError as error:
        raise ConfigError(
            f"--study {where}: its driver is not installed ({error}); for PostgreSQL: "
            "pip install psycopg2-binary"
        ) from error
    except RuntimeError as error:  # of another version of optuna
        raise StorageError(f"{where}: {error}") from error


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
        copy = None
        if not url and isinstance(store, FileStore):
            path = store.path(FILE)
            path.parent.mkdir(parents=True, exist_ok=True)
            url = f"sqlite:///{path}"
        elif not url:
            path, copy = stack.enter_context(Scratch("search")) / FILE, store
            if store.size(FILE) is not None:
                store.download(FILE, path)
            url = f"sqlite:///{path}"
        yield stack.enter_context(contextlib.closing(Database(url, copy)))


@contextlib.contextmanager
def explained(url: str) -> Iterator[None]:
    """Turn what SQLAlchemy and optuna raise into errors that name the database.

    Raises:
        ConfigError: If its URL is none.
        StorageError: If the database does not do what is asked of it.
    """
    where = shown_url(url)
    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise ConfigError(
            f"--study {where}: not the URL of a database; write it as "
            "postgresql://USER:PASSWORD@HOST/NAME"
        ) from error
    except (SQLAlchemyError, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        first = str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
        raise StorageError(
            f"{where}: the database of the search does not answer, or is none of optuna's "
            f"({first}); see that it runs, then the same command goes on"
        ) from error


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
