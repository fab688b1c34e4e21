"""The result of a run, read back from its folder."""

import pytest

from retdm.errors import CheckpointError
from retdm.onray.run_record import stored_result
from retdm.storage import open_store


def _stored(tmp_path, content):
    (tmp_path / "result.json").write_bytes(content)
    return stored_result(open_store(str(tmp_path)))


def test_what_a_result_does_not_say_is_empty(tmp_path):
    assert _stored(tmp_path, b"{}") == {"config": {}, "reading": {}}
    with_stages = b'{"config": {"stages": {"1": {"epochs": 2}}, "seed": 0}}'
    assert _stored(tmp_path, with_stages)["config"]["stages"] == {"1": {"epochs": 2}}


@pytest.mark.parametrize("stages", [b"5", b"[]", b"null"])
def test_stages_that_are_no_table_are_refused(tmp_path, stages):
    message = r"result\.json: not the result of a run; restore .*\(config\.stages: Input should be"
    with pytest.raises(CheckpointError, match=message):
        _stored(tmp_path, b'{"config": {"stages": ' + stages + b"}}")
