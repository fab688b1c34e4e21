"""Thresholds out of a run's result."""

import pytest

from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train.thresholds import fitted_thresholds


def test_a_result_that_lacks_a_threshold_or_is_damaged_is_named(tmp_path):
    store = open_store(str(tmp_path))

    def fitted(*labels):
        return fitted_thresholds(store, labels, checkpoint="c")

    assert fitted("a") is None
    store.write("result.json", b'{"thresholds": {"a": 0.25}}')
    assert fitted("a").tolist() == [0.25]
    with pytest.raises(
        CheckpointError, match=r"result\.json: no threshold for label 'b'; restore"
    ):
        fitted("a", "b")
    store.write("result.json", b'{"thresholds": {"a": "high"}}')
    with pytest.raises(
        CheckpointError, match=r"not the result of a run; .*\(thresholds\.a: Input"
    ):
        fitted("a")


def test_thresholds_of_another_checkpoint_do_not_count(tmp_path):
    store = open_store(str(tmp_path))
    store.write("result.json", b'{"thresholds": {"a": 0.25}, "checkpoint": "one"}')
    assert fitted_thresholds(store, ["a"], checkpoint="one") is not None
    assert fitted_thresholds(store, ["a"], checkpoint="two") is None
