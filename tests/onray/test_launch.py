"""What is refused before a worker starts."""

import pytest

from retdm.config import Config
from retdm.errors import ConfigError
from retdm.onray.launch import _check_room
from retdm.onray.workers import Workers


def test_more_workers_than_this_machine_has_cores_are_refused(monkeypatch):
    monkeypatch.setattr("ray.cluster_resources", lambda: {"CPU": 2.0})
    _check_room(Config(), Workers(2, 8))
    with pytest.raises(ConfigError, match=r"--workers 3 needs 3 CPU cores .* has 2; ask"):
        _check_room(Config(), Workers(3, 3))
    monkeypatch.setenv("RAY_ADDRESS", "a-cluster:6379")
    _check_room(Config(), Workers(3, 3))
