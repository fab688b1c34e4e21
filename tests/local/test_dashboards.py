"""The dashboards' command: what it shows, what it says, how it ends; what they show: system/."""

import contextlib
import os
import sqlite3
import sys

import background
import copies
import dashboards
import optuna
import pytest
from background import LocalServiceError
from shown import STUDY, look, newest_search

from retdm.errors import ConfigError, StorageError
from retdm.storage import open_store


@pytest.fixture
def folder(tmp_path):
    """A folder below a storage, and its store."""
    path = tmp_path / "runs/s"
    path.mkdir(parents=True)
    return path, open_store(str(path))


def _study(path):
    """A study of one trial in a new file."""
    study = optuna.create_study(storage=f"sqlite:///{path}", study_name="s")
    study.tell(study.ask(), 0.5)
    return study


def _numbers(path):
    with contextlib.closing(sqlite3.connect(path)) as database:
        return [number for (number,) in database.execute("SELECT number FROM trials")]


def test_a_run_has_tensorboard_files_and_no_study(folder):
    path, store = folder
    (path / "run.json").touch()
    shown = look(store, "", {"RETDM_STUDY": "postgresql://h/d"})
    assert (shown.is_run, shown.events, shown.own_study, shown.study_url) == (
        *(True, "tensorboard", False, ""),
    )


def test_a_search_is_shown_with_the_study_in_its_folder(folder):
    path, store = folder
    (path / STUDY).touch()
    shown = look(store, "", {"RETDM_STUDY": "postgresql://h/d"})
    assert (shown.events, shown.own_study, shown.study_url) == ("tune", True, "")
    named = look(store, "postgresql://h/other", {})
    assert (named.own_study, named.study_url) == (False, "postgresql://h/other")


def test_without_a_file_the_study_is_in_the_database_of_the_environment(folder):
    path, store = folder
    assert look(store, "", {"RETDM_STUDY": "postgresql://h/d"}).study_url == "postgresql://h/d"
    (path / "tune.json").touch()
    assert look(store, "", {}).study_url == ""


def test_a_folder_of_something_else_is_refused(folder):
    with pytest.raises(ConfigError, match=r"runs/s: neither a search nor a run; give the folder"):
        look(folder[1], "", {})


def test_the_newest_search_is_the_one_that_wrote_last(folder, tmp_path):
    for name, age in (("s", 10), ("t", 0), ("u", 20)):
        file = tmp_path / "runs" / name / "tune.json"
        file.parent.mkdir(exist_ok=True)
        file.touch()
        os.utime(file, (1e9 - age, 1e9 - age))
    assert newest_search(str(tmp_path / "runs")) == str(tmp_path / "runs/t")


def test_without_any_search_or_on_s3_one_has_to_be_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no search in it that has tune.json; name the folder"):
        newest_search(str(tmp_path))
    with pytest.raises(ConfigError, match=r"which search of s3://photos/runs\? Name one"):
        newest_search("s3://photos/runs")


@pytest.mark.parametrize(
    ("env", "told"),
    [
        ({}, ["Ray: RAY_API_SERVER_ADDRESS, its dashboard's address, is not set here"]),
        ({"RAY_API_SERVER_ADDRESS": "http://h:1", "RAY_ADDRESS": "g:2"}, ["Ray: http://h:1/#/jobs"]),
        ({"RAY_ADDRESS": "https://h:1"}, ["Ray: https://h:1/#/jobs"]),
        (
            {"RAY_ADDRESS": "ray://h:1"},
            ["Ray: http://h:8265/#/jobs, unless its head was given another port"],
        ),
        (
            {"RAY_ADDRESS": "auto"},
            ["Ray: http://127.0.0.1:8265/#/jobs, unless its head was given another port"],
        ),
        (
            {"RAY_ADDRESS": "local"},
            ["Ray: nothing to show, since RAY_ADDRESS=local gives each program one of its own"],
        ),
        (
            {"RAY_API_SERVER_ADDRESS": "http://h:1", "RAY_AUTH_MODE": "token"},
            [
                "Ray: http://h:1/#/jobs",
                "it asks for the token, which is in ~/.ray/auth_token",
            ],
        ),
    ],
)  # fmt: skip
def test_rays_dashboard_is_told_from_the_environment(env, told):
    assert dashboards.ray_lines(env) == told


def test_copies_of_event_files_grow_in_place(folder, tmp_path):
    path, store = folder
    events = path / "tune/0000/events.out.tfevents.1.vm"
    events.parent.mkdir(parents=True)
    events.write_bytes(b"one")
    (path / "tune/0000/params.pkl").touch()
    copies.copy_events(store, "tune/", tmp_path)
    copy = tmp_path / "tune/0000" / events.name
    with copy.open("rb") as reader:  # as TensorBoard holds it
        assert reader.read() == b"one"
        events.write_bytes(b"one two")
        copies.copy_events(store, "tune/", tmp_path)
        assert reader.read() == b" two"
    assert [one.name for one in copy.parent.iterdir()] == [events.name]
    events.write_bytes(b"new")
    copies.copy_events(store, "tune/", tmp_path)
    assert copy.read_bytes() == b"new"


@pytest.fixture(params=["folder", pytest.param("s3", marks=pytest.mark.cluster)])
def search(request, folder):
    """A search's store, its study, and a function that brings the one up to date by the other."""
    path, store = folder
    study = _study(path / STUDY)
    if request.param == "folder":
        return store, study, lambda: None
    remote = open_store(request.getfixturevalue("s3").url("search"))
    return remote, study, lambda: remote.write(STUDY, path / STUDY)


def test_a_reader_of_the_studys_copy_sees_new_trials(search, tmp_path):
    store, study, save = search
    save()
    copies.copy_study(store, tmp_path / STUDY)
    with contextlib.closing(sqlite3.connect(tmp_path / STUDY)) as reader:
        count = "SELECT COUNT(*) FROM trials"
        assert reader.execute(count).fetchone() == (1,)
        study.tell(study.ask(), 0.6)
        save()
        copies.copy_study(store, tmp_path / STUDY)
        assert reader.execute(count).fetchone() == (2,)


def test_what_is_deleted_in_the_copy_is_not_deleted_in_the_study(folder, tmp_path):
    path, store = folder
    _study(path / STUDY)
    copies.copy_study(store, tmp_path / STUDY)
    optuna.delete_study(study_name="s", storage=f"sqlite:///{tmp_path / STUDY}")
    assert _numbers(tmp_path / STUDY) == []
    assert _numbers(path / STUDY) == [0]
    copies.copy_study(store, tmp_path / STUDY)
    assert _numbers(tmp_path / STUDY) == [0]


def test_a_damaged_study_is_named(folder, tmp_path):
    path, store = folder
    (path / STUDY).write_bytes(b"x" * 5000)
    with pytest.raises(
        StorageError, match=r"runs/s/study.db: cannot be read as a study \(file is"
    ):
        copies.copy_study(store, tmp_path / STUDY)


def test_a_fault_of_the_storage_is_told_and_does_not_end_the_dashboards(monkeypatch, caplog):
    monkeypatch.setattr(dashboards, "_COPY_EVERY_S", 0)
    outcomes = [None, StorageError("s3://b: no answer"), None, KeyboardInterrupt()]

    def copy():
        if outcome := outcomes.pop(0):
            raise outcome

    dashboards._hold([], [copy])
    assert outcomes == []
    assert [one.getMessage() for one in caplog.records] == [
        "the dashboards show what was before: s3://b: no answer"
    ]


def test_a_dashboard_that_ends_is_named_with_the_end_of_its_log(tmp_path):
    command = [sys.executable, "-c", "print('no more'); raise SystemExit(1)"]
    process = background.spawn(command, log=tmp_path / "log", env=os.environ)
    one = dashboards.Dashboard("TensorBoard", process, 1, "", tmp_path / "log")
    told = r"^TensorBoard ended; start it again; the end of its log:\n    no more$"
    with pytest.raises(LocalServiceError, match=told):
        dashboards._wait_until_ready([one])


@pytest.mark.slow
def test_what_cannot_be_shown_is_one_line_and_status_2(program, folder, tmp_path, marked):
    path, _ = folder
    mark, alive = marked
    nothing = program("dashboards.py", path)
    assert nothing.returncode == 2
    assert nothing.stderr.startswith(f"error: {path}: neither a search nor a run; give")
    (path / "tune.json").touch()
    url = "postgresql://me:secret@127.0.0.1:1/d"
    gone = program("dashboards.py", path, env={"RETDM_STUDY": url, **mark})
    assert gone.returncode == 2
    assert gone.stderr.startswith(
        "error: postgresql://***@127.0.0.1:1/d: the database of the search does not answer"
    )
    assert "secret" not in gone.stdout + gone.stderr
    _study(tmp_path / "other.db").set_user_attr("a", 1)
    other = program("dashboards.py", path.parent, "--study", f"sqlite:///{tmp_path}/other.db")
    assert other.returncode == 2
    assert "other.db: no study runs in it, but s; a search's study has the name" in other.stderr
    assert alive() == []


def test_help_has_examples(program):
    helped = program("dashboards.py", "--help")
    assert helped.returncode == 0
    assert "python cluster/local/dashboards.py s3://photos/runs/scene-tune\n" in helped.stdout
