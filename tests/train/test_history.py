"""Which checkpoint is best, and how a run without one is reported."""

import pytest

from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train.history import best, checkpoint_name, publish, rank_score


def _entry(name, stage, metric):
    return {"checkpoint": name, "rank_score": rank_score(stage, metric)}


def test_a_later_stage_beats_a_better_metric():
    assert best([_entry("a", 0, 0.99), _entry("b", 2, 0.1)])["checkpoint"] == "b"


def test_among_equals_the_latest_wins():
    assert best([_entry("a", 2, 0.5), _entry("b", 2, 0.5)])["checkpoint"] == "b"


def test_an_undefined_metric_ranks_last_in_its_stage():
    assert best([_entry("a", 2, 0.1), _entry("b", 2, float("nan"))])["checkpoint"] == "a"


def test_the_published_index_names_best_and_latest(tmp_path):
    store = open_store(str(tmp_path))
    publish(store, [_entry("a", 0, 0.5), _entry("b", 0, 0.4)], [])
    assert checkpoint_name(store, "best") == "a"
    assert checkpoint_name(store, "latest") == "b"


def test_a_run_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoints\.json, so there is no trained run"):
        checkpoint_name(open_store(str(tmp_path)), "best")
