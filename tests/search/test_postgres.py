"""The study in a real PostgreSQL, as a team shares it."""

import os
import pwd
import shutil
import signal
import subprocess
import tempfile
import time
from pathlib import Path

import background
import psycopg2
import pytest
from optuna.trial import TrialState

from retdm.config import TuneSettings
from retdm.errors import CheckpointError, StorageError
from retdm.search.connection import explained
from retdm.search.database import open_database
from retdm.search.study import Trials
from retdm.storage import open_store

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
SETTINGS = TuneSettings.model_validate(
    {"space": {"loss.lambda1": {"log": [1e-3, 1]}, "loss.k": {"int": [1, 30]}}, "trials": 3}
)
USER, PASSWORD = "team", "pass-word-of-the-team"


class Postgres:
    """A server on loopback, in a folder of its own, that wants a password."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="retdm-postgres-"))
        self._as_user: list[str] = []
        if os.geteuid() == 0:  # as whom it refuses to run
            user = pwd.getpwnam("nobody")
            os.chown(self._folder, user.pw_uid, user.pw_gid)
            ids = (f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups")
            self._as_user = ["setpriv", *ids]
        secret = self._folder / "password"
        secret.write_text(PASSWORD)
        secret.chmod(0o644)
        options = ("--auth=scram-sha-256", "--encoding=UTF8", "--locale=C", "--no-sync")
        self._run("initdb", f"--username={USER}", f"--pwfile={secret}", *options)
        self.port = background.free_port(5432)
        self.url = f"postgresql://{USER}:{PASSWORD}@127.0.0.1:{self.port}/postgres"
        self.start()

    def _command(self, name: str, *options: str) -> list[str]:
        data = str(self._folder / "data")
        return [*self._as_user, str(self._programs / name), "-D", data, *options]

    def _run(self, name: str, *options: str) -> None:
        command = self._command(name, *options)
        done = subprocess.run(command, cwd="/", capture_output=True, text=True, timeout=240)
        assert done.returncode == 0, done.stderr

    def start(self) -> None:
        settings = ("listen_addresses=127.0.0.1", "unix_socket_directories=", "fsync=off")
        options = [word for one in settings for word in ("-c", one)]
        command = self._command("postgres", "-p", str(self.port), *options)
        if self._as_user:
            command.insert(1, "--pdeathsig=INT")  # or it would outlive a killed test run
        with (self._folder / "log").open("a") as log:
            self._process = subprocess.Popen(command, cwd="/", stdout=log, stderr=log)
        deadline = time.monotonic() + 120
        while True:
            try:
                psycopg2.connect(self.url).close()
                return
            except psycopg2.OperationalError:
                log_text = (self._folder / "log").read_text()
                assert self._process.poll() is None, log_text
                assert time.monotonic() < deadline, log_text
                time.sleep(0.1)

    def stop(self) -> None:
        """End it at once, and all connections."""
        if self._process.poll() is None:
            self._process.send_signal(signal.SIGINT)
        self._process.wait(60)

    def remove(self) -> None:
        self.stop()
        shutil.rmtree(self._folder)


@pytest.fixture(scope="module")
def postgres():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("needs PostgreSQL, whose programs are not in /usr/lib/postgresql; on Debian: "
                    "apt install postgresql")  # fmt: skip
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        pytest.skip("needs setpriv, since PostgreSQL refuses to run as root")
    server = Postgres(found[-1].parent)
    yield server
    server.remove()


@pytest.fixture
def opened(postgres, tmp_path, request):
    """`with opened() as trials`: a search's trials, as each of its programs opens them."""

    class Opened:
        def __init__(self, name=request.node.name, home="a", url=postgres.url):
            self._store = open_store(str(tmp_path / home / name))
            self._name, self._url = name, url
            self._about = {"home": self._store.url, "seeds": [0], "data": "d"}

        def __enter__(self):
            self._open = open_database(self._store, self._url)
            database = self._open.__enter__()
            study = database.study(self._name, SETTINGS.metrics, self._about, "auto")
            return Trials(study, SETTINGS, first={}, seed=0, saved=database.save)

        def __exit__(self, *error):
            return self._open.__exit__(*error)

    return Opened


def test_what_one_program_told_the_next_one_finds(opened):
    with opened() as trials:
        begun = trials.next()
        trials.report(begun.number, 1, 0.4, last=False)
        trials.end(begun.number, "complete", "well", values=[0.5], seconds=2.0)
    with opened() as trials:
        (known,) = trials.study.get_trials()
        assert (known.state, known.values) == (TrialState.COMPLETE, [0.5])
        assert known.params == dict(begun.params)
        assert known.intermediate_values == {1: 0.4}
        assert known.user_attrs == {"why": "well", "seconds": 2.0}
        assert trials.study.metric_names == ["mAP"]
        assert trials.left == 2


def test_a_trial_that_a_killed_program_had_begun_is_begun_again(opened):
    with opened() as trials:
        lost = trials.next()
        trials.report(lost.number, 1, 0.4, last=False)
    with opened() as trials:
        again = trials.next()
        assert (again.number, again.params) == (lost.number, lost.params)
        assert not trials.report(again.number, 1, 0.3, last=False)
        assert trials.study.get_trials()[0].intermediate_values == {1: 0.4}
        assert trials.next().number == 1


def test_searches_of_a_team_do_not_mix(opened):
    with opened(name="one") as one, opened(name="other") as other:
        one.end(one.next().number, "complete", "well", values=[0.5])
        assert (one.left, other.left) == (2, 3)
        assert other.next().number == 0


def test_a_search_of_the_same_name_in_another_folder_is_refused(opened, postgres, tmp_path):
    with opened(name="scene", home="a") as trials:
        begun = trials.next()
    where = rf"study scene in postgresql://\*\*\*@127.0.0.1:{postgres.port}/postgres"
    homes = rf"home: '{tmp_path}/a/scene' -> '{tmp_path}/b/scene'"
    with (
        pytest.raises(
            CheckpointError, match=rf"^{where}: of another search \({homes}\); use another --run-"
        ),
        opened(name="scene", home="b"),
    ):
        pass
    with opened(name="scene", home="a") as trials:
        assert trials.next() == begun


def test_a_wrong_password_is_told_without_it(opened, postgres):
    url = postgres.url.replace(PASSWORD, "not-the-password")
    told = rf"^postgresql://\*\*\*@127.0.0.1:{postgres.port}/postgres: .*password authentication"
    with pytest.raises(StorageError, match=told) as caught, opened(url=url):
        pass
    assert "not-the-password" not in str(caught.value)


def test_a_server_that_is_gone_is_told_and_trials_are_still_there_when_it_is_back(
    opened, postgres
):
    told = (
        rf"^postgresql://\*\*\*@127.0.0.1:{postgres.port}/postgres: the database of the search "
        r"does not answer, .*; see that it runs, then the same command goes on"
    )
    with opened() as trials:
        done, lost = trials.next(), trials.next()
        trials.end(done.number, "complete", "well", values=[0.5])
        postgres.stop()
        try:
            # What the searcher does with it.
            for call in (
                lambda: trials.report(lost.number, 1, 0.4, last=False),
                lambda: trials.end(lost.number, "failed", "no memory"),
                trials.next,
            ):
                with pytest.raises(StorageError, match=told) as caught, explained(postgres.url):
                    call()
                assert PASSWORD not in str(caught.value)
            with pytest.raises(StorageError, match=told), opened():
                pass
        finally:
            postgres.start()
    with opened() as trials:
        states = [one.state.name for one in trials.study.get_trials()]
        assert states == ["COMPLETE", "RUNNING"]
        assert trials.next().number == lost.number
