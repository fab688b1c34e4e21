"""How the database of a study is reached by its URL, and what its errors become."""

import contextlib
import importlib.util
import sqlite3
from collections.abc import Iterator

import optuna
import sqlalchemy
from sqlalchemy.exc import ArgumentError, NoSuchModuleError, SQLAlchemyError

from retdm.errors import ConfigError, StorageError
from retdm.shown_url import shown_url

_OF_MYSQL = (("MySQLdb", "mysqldb"), ("pymysql", "pymysql"))
_DRIVERS = {
    "postgresql": (("psycopg", "psycopg"), ("psycopg2", "psycopg2")),
    "mysql": _OF_MYSQL,
    "mariadb": _OF_MYSQL,
}
"""Modules, and how a URL names each."""


def with_driver(url: str) -> str:
    """The URL with a driver that is installed, unless it names one.

    Without any, releases of SQLAlchemy take different ones.

    Raises:
        ConfigError: If its port is no number.
    """
    try:
        sqlalchemy.make_url(url)
    except ValueError as error:  # a port that is no number
        raise _no_url(shown_url(url)) from error
    except ArgumentError:  # told where it is opened
        return url
    opening, mark, rest = url.partition("://")
    for module, driver in _DRIVERS.get(opening, ()):
        if _is_installed(module):
            return f"{opening}+{driver}{mark}{rest}"
    return url


def _is_installed(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def open_storage(url: str, where: str) -> optuna.storages.RDBStorage:
    """The database at the URL, with optuna's tables in it.

    Raises:
        ConfigError: If the URL is wrong, or a driver is missing.
        StorageError: If the database does not answer, or is none of optuna's.
    """
    with _driven(where):
        try:
            return optuna.storages.RDBStorage(with_driver(url))
        except RuntimeError as error:  # of another version of optuna
            raise StorageError(f"{where}: {error}") from error


def has_studies(url: str) -> bool:
    """Whether the database at the URL has optuna's tables.

    Raises:
        RetdmError: As `open_storage` does.
    """
    with _driven(shown_url(url)):
        engine = sqlalchemy.create_engine(with_driver(url))
        try:
            there = sqlalchemy.inspect(engine).get_table_names()
            return {"studies", "version_info"} <= set(there)
        finally:
            engine.dispose()


@contextlib.contextmanager
def _driven(where: str) -> Iterator[None]:
    try:
        with explained(where):
            yield
    except ImportError as error:
        raise ConfigError(
            f"--study {where}: its driver is not installed ({error}); for PostgreSQL: "
            "pip install psycopg2-binary, for MySQL and MariaDB: pip install pymysql"
        ) from error


@contextlib.contextmanager
def explained(where: str) -> Iterator[None]:
    """Turn what SQLAlchemy and optuna raise into errors that name the database.

    Args:
        where: What they call it; of a URL no password is shown.

    Raises:
        ConfigError: If its URL is none.
        StorageError: If the database does not do what is asked of it.
    """
    where = shown_url(where)
    try:
        yield
    except (ArgumentError, NoSuchModuleError) as error:
        raise _no_url(where) from error
    except (SQLAlchemyError, sqlite3.Error, optuna.exceptions.StorageInternalError) as error:
        cause = error.__cause__ or error
        first = str(getattr(cause, "orig", None) or cause).strip().partition("\n")[0]
        raise StorageError(
            f"{where}: the database of the search does not answer, or is none of optuna's "
            f"({first}); see that it runs, then the same command goes on"
        ) from error


def _no_url(where: str) -> ConfigError:
    return ConfigError(
        f"--study {where}: not the URL of a database; write it as "
        "postgresql://USER:PASSWORD@HOST/NAME"
    )
