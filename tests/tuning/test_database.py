"""The study outlives its program: in a folder, on S3, in a database of a team's."""

import json
import sqlite3
from contextlib import nullcontext

import optuna
import pytest

from retdm.errors import CheckpointError, ConfigError, StorageError
from retdm.storage import open_store
from retdm.tuning import connection
from retdm.tuning.connection import with_driver
from retdm.tuning.database import FILE, look_into, open_database

METRICS = ("mAP",)
ABOUT = {"seeds": [0], "data": "d", "loss.k": 3}


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.cluster)])
def store(request, tmp_path):
    if request.param == "folder":
        return open_store(str(tmp_path / "search"))
    return open_store(request.getfixturevalue("s3").url("search"))


def test_what_was_saved_is_there_for_the_next_program(store):
    with open_database(store, "") as database:
        study = database.study("s", METRICS, ABOUT, "auto")
        study.tell(study.ask(), 0.5)
        database.save()
    with open_database(store, "") as database:
        study = database.study("s", METRICS, ABOUT, "must")
        assert [one.value for one in study.get_trials()] == [0.5]
        assert study.metric_names == ["mAP"]
        assert study.direction == optuna.study.StudyDirection.MAXIMIZE
    assert store.read(FILE).startswith(b"SQLite format 3")


@pytest.mark.cluster
def test_what_a_killed_program_did_not_save_is_not_half_there(s3):
    store = open_store(s3.url("search"))
    with open_database(store, "") as database:
        study = database.study("s", METRICS, ABOUT, "auto")
        study.tell(study.ask(), 0.5)
        database.save()
        study.ask()
    with open_database(store, "") as database:
        assert len(database.study("s", METRICS, ABOUT, "must").get_trials()) == 1


def test_lower_is_better_for_losses(tmp_path):
    with open_database(open_store(str(tmp_path)), "") as database:
        study = database.study("s", ("mAP", "hamming_loss"), ABOUT, "auto")
        assert [one.name for one in study.directions] == ["MAXIMIZE", "MINIMIZE"]


def test_a_search_of_other_settings_is_refused(tmp_path):
    store = open_store(str(tmp_path))
    with open_database(store, "") as database:
        database.study("s", METRICS, ABOUT, "auto")
        with pytest.raises(
            CheckpointError,
            match=rf"^study s in {tmp_path}/study.db: of another search \(loss.k: 3 -> 4\); use "
            "another --run-name, or the same settings as before",
        ):
            database.study("s", METRICS, {**ABOUT, "loss.k": 4}, "auto")


def test_looking_into_a_study_finds_it_and_changes_nothing(store):
    with open_database(store, "") as database:
        study = database.study("s", METRICS, ABOUT, "auto")
        study.ask()
        database.save()
        before = store.read(FILE)
        # Also while the search is at work.
        with look_into(store, "") as looked:
            found = looked.known("s", ABOUT, "must")
            assert [one.state.name for one in found.get_trials()] == ["RUNNING"]
            found.tell(0, 0.5)
            assert looked.known("t", ABOUT, "auto") is None
        assert store.read(FILE) == before
        assert study.get_trials()[0].state.name == "RUNNING"


@pytest.mark.parametrize("resume", ["auto", "never", "must"])
def test_looking_where_there_is_none_makes_none(store, resume):
    told = (
        rf"^study s in {store.url}/study.db: no search of this name to go on with; check --storage"
    )
    missed = pytest.raises(CheckpointError, match=told) if resume == "must" else nullcontext()
    with look_into(store, "") as looked, missed:
        assert looked.known("s", ABOUT, resume) is None
    assert list(store.names()) == []


def test_looking_into_a_damaged_file_names_it(store):
    store.write(FILE, b"SQLite format 3\0" + b"x" * 5000)
    told = rf"^{store.url}/study.db: the database of the search does not answer, or is none"
    with pytest.raises(StorageError, match=told), look_into(store, ""):
        pass


def test_resume_forbids_or_misses_an_earlier_one(tmp_path):
    with open_database(open_store(str(tmp_path)), "") as database:
        with pytest.raises(CheckpointError, match="no search of this name to go on with"):
            database.study("s", METRICS, ABOUT, "must")
        database.study("s", METRICS, ABOUT, "never")
        with pytest.raises(CheckpointError, match="a search of this name exists; choose another"):
            database.study("s", METRICS, ABOUT, "never")


@pytest.mark.parametrize(
    ("url", "told"),
    [
        ("nonsense", "^--study nonsense: not the URL of a database; write it as postgresql://"),
        (
            "postgresql://me:secret@h:abc/d",
            r"^--study postgresql://\*\*\*@h:abc/d: not the URL of a database; write it as",
        ),
        ("no://me:secret@h/d", r"^--study no://\*\*\*@h/d: not the URL of a database"),
        (
            "mysql+absent://me:secret@h/d",
            r"^--study mysql\+absent://\*\*\*@h/d: not the URL of a database; write it as",
        ),
        (
            "oracle://me:secret@h/d",
            r"^--study oracle://\*\*\*@h/d: its driver is not installed \(.*\); for PostgreSQL: "
            "pip install psycopg2-binary, for MySQL and MariaDB: pip install pymysql",
        ),
    ],
)
def test_a_wrong_url_is_told_without_its_password(tmp_path, url, told):
    with (
        pytest.raises(ConfigError, match=told) as caught,
        open_database(open_store(str(tmp_path)), url),
    ):
        pass
    assert "secret" not in str(caught.value)


def test_postgresql_is_spoken_to_by_whichever_driver_is_installed(tmp_path):
    url = "postgresql://me:secret@127.0.0.1:1/d"
    told = (
        r"^postgresql://\*\*\*@127.0.0.1:1/d: the database .* does not answer.*onnection refused"
    )
    with (
        pytest.raises(StorageError, match=told) as caught,
        open_database(open_store(str(tmp_path)), url),
    ):
        pass
    assert "secret" not in str(caught.value)
    assert with_driver("postgresql+other://h/d") == "postgresql+other://h/d"


def test_mysql_and_mariadb_are_spoken_to_by_whichever_driver_is_installed(monkeypatch):
    def installed(*modules):
        there = {"MySQLdb", "pymysql"} - set(modules)
        monkeypatch.setattr(connection, "_is_installed", lambda name: name not in there)

    installed("pymysql")
    assert with_driver("mysql://h/d") == "mysql+pymysql://h/d"
    assert with_driver("mariadb://h/d") == "mariadb+pymysql://h/d"
    installed("MySQLdb", "pymysql")
    assert with_driver("mysql://h/d") == "mysql+mysqldb://h/d"
    installed()
    assert with_driver("mysql://h/d") == "mysql://h/d"


def test_a_damaged_file_is_named(tmp_path):
    (tmp_path / FILE).write_bytes(b"SQLite format 3\0" + b"x" * 5000)
    with (
        pytest.raises(StorageError, match=r"study.db: the database of the search does not answer"),
        open_database(open_store(str(tmp_path)), ""),
    ):
        pass


def test_a_database_of_something_else_is_named(tmp_path):
    with sqlite3.connect(tmp_path / FILE) as other:
        other.execute("CREATE TABLE studies (a INTEGER)")
    other.close()
    with (
        pytest.raises(StorageError, match="or is none of optuna's"),
        open_database(open_store(str(tmp_path)), "") as database,
    ):
        database.study("s", METRICS, ABOUT, "auto")


def test_what_makes_it_this_search_is_json(tmp_path):
    with open_database(open_store(str(tmp_path)), "") as database:
        study = database.study("s", METRICS, ABOUT, "auto")
        assert json.loads(json.dumps(study.user_attrs["retdm"])) == ABOUT
