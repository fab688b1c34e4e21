"""Which checkpoint is best, which are kept, and how a run without one is reported."""

import json
from dataclasses import asdict

import pytest

from retdm.errors import CheckpointError
from retdm.storage import open_store
from retdm.train.history import (
    INDEX,
    best,
    checkpoint_name,
    kept_checkpoints,
    publish,
    rank_score,
    reached,
    retain,
)
from tests.checkpoints import entry, kept


def _best(*entries):
    return best(list(entries), [kept("a"), kept("b")])["checkpoint"]


def _entry(name, stage, metric):
    return entry(name, rank_score(stage, metric))


def test_a_later_stage_beats_a_better_metric():
    assert _best(_entry("a", 0, 0.99), _entry("b", 2, 0.1)) == "b"


def test_among_equals_the_latest_wins():
    assert _best(_entry("a", 2, 0.5), _entry("b", 2, 0.5)) == "b"


def test_an_undefined_metric_ranks_last_in_its_stage():
    assert _best(_entry("a", 2, 0.1), _entry("b", 2, float("nan"))) == "a"


def test_an_epoch_whose_checkpoint_is_not_there_is_never_the_best():
    assert _best(_entry("of another run", 2, 0.9), _entry("a", 0, 0.1)) == "a"


def test_the_published_index_names_best_and_latest(tmp_path):
    store = open_store(str(tmp_path))
    publish(store, [_entry("a", 0, 0.5), _entry("b", 0, 0.4)], [kept("a"), kept("b")])
    assert checkpoint_name(store, "best") == "a"
    assert checkpoint_name(store, "latest") == "b"


def test_a_run_inside_its_first_epoch_has_reached_its_stage_but_no_best(tmp_path):
    store = open_store(str(tmp_path))
    publish(store, [], [kept("a", epoch=0, next_batch=2)])
    assert reached(store) == ("1", 1)
    with pytest.raises(CheckpointError, match="has not finished an epoch yet; let it go on"):
        checkpoint_name(store, "best")


def test_what_was_best_at_the_checkpoint_before_the_newest_is_kept():
    scores = {"a": 0.1, "b": 0.5, "c": 0.4, "d": 0.6}
    steps = {name: step for step, name in enumerate(scores)}
    history = [entry(name, score, step=steps[name]) for name, score in scores.items()]
    there = [kept(name, step=steps[name]) for name in scores]
    assert [one.name for one in retain(there, history, keep_best=1)] == ["b", "c", "d"]


def test_a_run_without_checkpoints_is_an_error(tmp_path):
    with pytest.raises(CheckpointError, match=r"no checkpoints\.json, so there is no trained run"):
        checkpoint_name(open_store(str(tmp_path)), "best")


def test_a_run_without_the_checkpoint_of_an_epoch_has_no_best_one():
    with pytest.raises(
        CheckpointError, match="none of the run's finished epochs has a checkpoint"
    ):
        best([_entry("a", 0, 0.5)], [kept("b")])


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", "not JSON"),
        (b"[1]", "not an index of checkpoints; restore the file"),
        (b'{"kept": [], "history": []}', "not an index of checkpoints"),
        (json.dumps({"latest": None, "best": None, "kept": [{"x": 1}]}).encode(), "not an index"),
        (b'{"latest": "e", "best": "e", "history": [1]}', "a run of an earlier version of retdm"),
    ],
)
def test_a_damaged_or_old_index_is_refused(tmp_path, content, message):
    (tmp_path / INDEX).write_bytes(content)
    with pytest.raises(CheckpointError, match=message):
        kept_checkpoints(open_store(str(tmp_path)))


@pytest.mark.parametrize(
    ("field", "value"), [("name", 5), ("epoch", "1"), ("next_batch", None), ("step", [1])]
)
def test_a_checkpoint_whose_line_has_other_types_is_refused(tmp_path, field, value):
    line = {**asdict(kept("a")), field: value}
    index = {"latest": "a", "best": "a", "history": [], "kept": [line]}
    (tmp_path / INDEX).write_text(json.dumps(index))
    with pytest.raises(CheckpointError, match=rf"not an index .*\(kept\.0\.{field}: Input should"):
        reached(open_store(str(tmp_path)))


def test_what_a_later_version_says_of_a_checkpoint_is_left_out(tmp_path):
    line = {**asdict(kept("a")), "colour": "red"}
    index = {"latest": "a", "best": "a", "history": [], "kept": [line]}
    (tmp_path / INDEX).write_text(json.dumps(index))
    assert kept_checkpoints(open_store(str(tmp_path))) == [kept("a")]


def test_an_index_that_says_two_things_is_refused(tmp_path):
    publish(open_store(str(tmp_path)), [_entry("a", 0, 0.5)], [kept("a")])
    text = (tmp_path / INDEX).read_text()
    (tmp_path / INDEX).write_text(text.replace('"best"', '"best": "b", "best"', 1))
    with pytest.raises(CheckpointError, match="an object has the key 'best' twice"):
        checkpoint_name(open_store(str(tmp_path)), "best")
