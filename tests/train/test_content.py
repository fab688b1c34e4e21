"""A checkpoint whose file is sound and whose tables are a stranger's is refused by name."""

from dataclasses import asdict

import pytest
import torch

from retdm.errors import CheckpointError
from retdm.train.checkpoint import load, save
from tests.checkpoints import epoch_entry, whole_state

GONE = object()
NUMBERS = torch.zeros(2, 2)
KNOT: dict[str, object] = {}
KNOT["again"] = KNOT


def _content():
    state = whole_state()
    content = {name: getattr(state, name) for name in state.__dataclass_fields__}
    return {**content, "progress": asdict(state.progress)}


def _edited(content, path, value):
    *folders, last = path
    for part in folders:
        content = content[part]
    if value is GONE:
        del content[last]
    else:
        content[last] = value


def _refusal(tmp_path, content):
    torch.save(content, tmp_path / "a.pt")
    with pytest.raises(CheckpointError) as caught:
        load(tmp_path / "a.pt")
    return str(caught.value)


def test_a_whole_checkpoint_is_read(tmp_path):
    save(whole_state(), tmp_path / "a.pt")
    assert load(tmp_path / "a.pt").progress == whole_state().progress


EDITS = [
    ("model", [], "model: Input should be a valid dictionary"),
    ("model.w", 1, "model.w: Input should be an instance of Tensor"),
    (("model", 5), NUMBERS, "model.5.[key]: Input should be a valid string"),
    ("model.w", torch.zeros(1).expand(10**12), "model.w: Value error, not a plain tensor"),
    ("model.w", NUMBERS.to_sparse(), "model.w: Value error, not a plain tensor"),
    ("model.w", torch.zeros(2, requires_grad=True), "model.w: Value error, not a plain tensor"),
    ("labels", ["a", "b"], "labels: Input should be a valid tuple"),
    ("labels", "ab", "labels: Input should be a valid tuple"),
    ("labels", ("a", 2), "labels.1: Input should be a valid string"),
    ("labels", ("a", "a"), "labels: Value error, label 'a' is listed twice"),
    ("labels", (), "labels: Value error, the label space is empty"),
    ("config", None, "config: Input should be a valid dictionary"),
    ("config.seed", NUMBERS, "config.seed: "),
    ("config.seed", KNOT, "config.seed.dict.again: Recursion error"),
    ("surplus", 1, "surplus: Extra inputs are not permitted"),
    ("history", GONE, "history: Field required"),
    ("history", [1], "history.0: Input should be a valid dictionary"),
    ("history.0.step", GONE, "history.0.step: Field required"),
    ("history.0.step", "7", "history.0.step: Input should be a valid integer"),
    ("history.0.rank_score", None, "history.0.rank_score: Input should be a valid number"),
    ("history.0.checkpoint", 1, "history.0.checkpoint: Input should be a valid string"),
    ("history.0.val/mAP", GONE, "history.0.val/mAP: Field required"),
    ("history.0.val/mAP", "high", "history.0.val/mAP: Input should be a valid number"),
    ("history.0.train/total", [], "history.0.train/total: Input should be a valid number"),
    ("history.0.lr", 10**400, "history.0.lr: Input should be a"),
    (("history", 0, 5), 1, "history.0.5: Keys should be strings"),
    ("bad_samples.0", 1, "bad_samples.0: Input should be a valid dictionary"),
    ("bad_samples.0.reason", GONE, "bad_samples.0: Dictionary should have at least 4 items"),
    ("bad_samples.0.key", 1, "bad_samples.0.key: Input should be a valid string"),
    ("bad_samples.0.why", "x", "bad_samples.0.why.[key]: Input should be 'split', "),
    ("skipped_steps.0.step", GONE, "skipped_steps.0.step: Field required"),
    ("skipped_steps.0.why", "x", "skipped_steps.0.why: Extra inputs are not permitted"),
    ("skipped_steps.0.keys", [1], "skipped_steps.0.keys.0: Input should be a valid string"),
    ("progress", GONE, "progress: Field required"),
    ("progress.step", "7", "progress.step: Input should be a valid integer"),
    ("progress.epoch", -1, "progress.epoch: Input should be greater than or equal to 0"),
    ("progress.data.next_batch", 10**30, "progress.data.next_batch: Input should be less than"),
    ("progress.data.digest", GONE, "progress.data.digest: Field required"),
    ("tally", 0, "tally: Input should be a valid dictionary"),
    ("tally", {}, "the file: Value error, it stands inside an epoch, of whose steps it has no"),
    ("tally.steps", GONE, "tally.steps: Field required"),
    ("tally.seconds", float("nan"), "tally.seconds: Input should be a finite number"),
    ("tally.totals", {"total": "x"}, "tally.totals.total: Input should be a valid number"),
    ("tally.open", GONE, "tally: Value error, sums of other loss parts than it names"),
    ("tally.open", NUMBERS[:, :1], "tally: Value error, sums of other loss parts than it names"),
    ("tally.open", NUMBERS[:0], "tally.open: Value error, not rows of numbers"),
    ("tally.open", NUMBERS.cfloat(), "tally.open: Value error, not rows of numbers"),
    ("tally.open_steps", 0, "tally: Value error, sums of other loss parts than it names"),
    ("seconds", [1.0], "seconds: Input should be a valid dictionary"),
    ("seconds.data", -1.0, "seconds.data: Input should be greater than or equal to 0"),
    ("seconds.data", float("inf"), "seconds.data: Input should be a finite number"),
    ("statistics", 1, "statistics: Input should be an instance of Tensor"),
    ("statistics", torch.zeros(3), "statistics: Value error, not rows of numbers"),
    ("bank.written", GONE, "bank.written: Field required"),
    ("bank.written", "2", "bank.written: Input should be a valid integer"),
    ("bank.steps", [0], "bank.steps: Input should be an instance of Tensor"),
    ("optimizer", [], "optimizer: Input should be a valid dictionary"),
    ("optimizer.sgd", GONE, "optimizer.sgd: Field required"),
    ("optimizer.sgd.param_groups", [], "optimizer.sgd.param_groups: List should have at least 1"),
    ("optimizer.sgd.param_groups.0.lr", "x", "optimizer.sgd.param_groups.0.lr: Input should be"),
    ("optimizer.sgd.state.0", {}, "optimizer.sgd.state.0.momentum_buffer: Field required"),
    (("optimizer", "sgd", "state", "x"), {}, "optimizer.sgd.state.x.[key]: Input should be a val"),
    ("optimizer.plateau.best", GONE, "optimizer.plateau.best: Field required"),
    ("optimizer.plateau.num_bad_epochs", 0.5, "optimizer.plateau.num_bad_epochs: Input should"),
]


@pytest.mark.filterwarnings("ignore:Validating sparse")
@pytest.mark.parametrize(("where", "value", "told"), EDITS)
def test_a_table_of_a_stranger_is_refused_where_it_is_wrong(tmp_path, where, value, told):
    path = where if isinstance(where, tuple) else where.split(".")
    path = [int(part) if isinstance(part, str) and part.isdigit() else part for part in path]
    content = _content()
    _edited(content, path, value)
    said = _refusal(tmp_path, content)
    assert f"a.pt: not a whole checkpoint ({told}" in said
    assert said.endswith("; use an earlier checkpoint of the run")


@pytest.mark.parametrize("content", [None, [], NUMBERS, {}, {"model": {}}])
def test_another_archive_of_tensors_is_no_checkpoint(tmp_path, content):
    assert "not a whole checkpoint (" in _refusal(tmp_path, content)


def test_an_epoch_must_have_summed_the_loss(tmp_path):
    content = _content()
    content["tally"]["totals"] = {}
    content["tally"]["open_names"] = ["x", "y"]
    told = "tally: Value error, no sum of the loss part 'total'"
    assert told in _refusal(tmp_path, content)


def test_a_checkpoint_between_epochs_has_neither_tally_nor_optimizer(tmp_path):
    content = _content() | {"tally": {}, "optimizer": {}, "bank": {}, "statistics": None}
    content["progress"]["data"]["next_batch"] = 0
    content["history"].append(epoch_entry("f"))
    torch.save(content, tmp_path / "a.pt")
    assert [entry["checkpoint"] for entry in load(tmp_path / "a.pt").history] == ["e", "f"]
