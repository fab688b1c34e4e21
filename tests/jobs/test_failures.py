"""Which failures of workers end a run at once, and which Ray Train may try again."""

import pytest

from retdm.config import Config
from retdm.errors import ConfigError, ShardError, TransientStorageError
from retdm.onray.launch import _check_room, _StopOnUserError
from retdm.onray.workers import Workers


class Wrapped(Exception):
    """As Ray hands a worker's exception to the controller."""

    def __init__(self, cause):
        super().__init__(str(cause))
        self._base_exc = cause


@pytest.mark.parametrize("wrap", [lambda error: error, Wrapped])
def test_what_the_user_must_mend_is_final(wrap):
    failures = {0: RuntimeError("connection reset by peer"), 1: wrap(ShardError("damaged"))}
    with pytest.raises(ShardError, match="damaged"):
        _StopOnUserError().after_exception(None, failures)


@pytest.mark.parametrize("error", [TransientStorageError("slow down"), MemoryError()])
def test_what_may_pass_is_left_to_the_restarts(error):
    _StopOnUserError().after_exception(None, {0: Wrapped(error)})


def test_more_workers_than_this_machine_has_cores_are_refused(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    _check_room(Config(), Workers(2, 8))
    with pytest.raises(ConfigError, match=r"--workers 3 needs 3 CPU cores .* has 2; ask"):
        _check_room(Config(), Workers(3, 3))
    monkeypatch.setenv("RAY_ADDRESS", "a-cluster:6379")
    _check_room(Config(), Workers(3, 3))
