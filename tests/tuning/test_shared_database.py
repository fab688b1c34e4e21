"""The study in a real PostgreSQL and a real MariaDB, as a team shares it."""

import re

import pytest
import sqlalchemy
from optuna.trial import TrialState

from retdm.config import TuneSettings
from retdm.errors import CheckpointError, StorageError
from retdm.storage import open_store
from retdm.tuning.connection import explained, with_driver
from retdm.tuning.database import look_into, open_database
from retdm.tuning.study import Trials
from tests.tuning.database_servers import PASSWORD, MariaDb, Postgres

pytestmark = [pytest.mark.slow, pytest.mark.cluster]
SETTINGS = TuneSettings.model_validate(
    {"space": {"loss.lambda1": {"log": [1e-3, 1]}, "loss.k": {"int": [1, 30]}}, "trials": 3}
)


@pytest.fixture(scope="module", params=[Postgres, MariaDb], ids=lambda kind: kind.__name__)
def server(request):
    server = request.param()
    yield server
    server.remove()


@pytest.fixture
def opened(server, tmp_path, request):
    """`with opened() as trials`: a search's trials, as each of its programs opens them."""

    class Opened:
        def __init__(self, name=request.node.name, home="a", url=server.url):
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


def _hidden(server):
    """Its URL as errors have it."""
    return re.escape(f"{server.scheme}://***@{server.address}")


def _tables(server):
    engine = sqlalchemy.create_engine(with_driver(server.url))
    try:
        return sqlalchemy.inspect(engine).get_table_names()
    finally:
        engine.dispose()


def test_looking_into_it_makes_and_changes_nothing(server, opened, tmp_path):
    store = open_store(str(tmp_path / "new"))
    # The server's first test, which has no tables yet.
    assert _tables(server) == []
    with look_into(store, server.url) as database:
        assert database.known("new", {}, "auto") is None
    assert _tables(server) == []
    with opened("looked-into") as trials:
        trials.next()
        about = trials.study.user_attrs["retdm"]
    with look_into(store, server.url) as database:
        assert len(database.known("looked-into", about, "must").get_trials()) == 1
        assert database.known("new", {}, "auto") is None
        told = rf"^study new in {_hidden(server)}: no search of this name to go on with"
        with pytest.raises(CheckpointError, match=told):
            database.known("new", {}, "must")
    assert not (tmp_path / "new").exists()


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


def test_a_search_of_the_same_name_in_another_folder_is_refused(opened, server, tmp_path):
    with opened(name="scene", home="a") as trials:
        begun = trials.next()
    where = rf"study scene in {_hidden(server)}"
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


def test_a_wrong_password_is_told_without_it(opened, server):
    url = server.url.replace(PASSWORD, "not-the-password")
    told = rf"^{_hidden(server)}: .*{server.refused}"
    with pytest.raises(StorageError, match=told) as caught, opened(url=url):
        pass
    assert "not-the-password" not in str(caught.value)


def test_a_server_that_is_gone_is_told_and_trials_are_still_there_when_it_is_back(opened, server):
    told = (
        rf"^{_hidden(server)}: the database of the search "
        r"does not answer, .*; see that it runs, then the same command goes on"
    )
    with opened() as trials:
        done, lost = trials.next(), trials.next()
        trials.end(done.number, "complete", "well", values=[0.5])
        server.stop()
        try:
            # What the searcher does with it.
            for call in (
                lambda: trials.report(lost.number, 1, 0.4, last=False),
                lambda: trials.end(lost.number, "failed", "no memory"),
                trials.next,
            ):
                with pytest.raises(StorageError, match=told) as caught, explained(server.url):
                    call()
                assert PASSWORD not in str(caught.value)
            with pytest.raises(StorageError, match=told), opened():
                pass
        finally:
            server.start()
    with opened() as trials:
        states = [one.state.name for one in trials.study.get_trials()]
        assert states == ["COMPLETE", "RUNNING"]
        assert trials.next().number == lost.number
