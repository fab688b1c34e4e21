"""Runs in which some steps are skipped: what is told, counted and kept, and when they end."""

import json
import logging
import subprocess
import sys

import pytest
import torch

from retdm import console
from retdm.data.split import open_split
from retdm.errors import DivergenceError
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.train.conftest import settings
from tests.train.poison import poison

pytestmark = pytest.mark.slow
BCE = ("method=bce", "stages.3.epochs=0", "run.log_every_steps=1")


def _train(config, root):
    return train(config, LocalSession(), open_store(str(root)))


def _lines(root):
    return [json.loads(line) for line in (root / "log.jsonl").read_text().splitlines()]


def test_a_skipped_step_is_told_counted_and_listed_with_its_images(small, tmp_path, caplog):
    config = small(*BCE, "stages.1.epochs=2")
    with poison({4}), caplog.at_level(logging.WARNING):
        run = _train(config, tmp_path)
        result = conclude(run)
    (skipped,) = result["skipped_steps"]
    assert skipped == json.loads((tmp_path / "result.json").read_text())["skipped_steps"][0]
    place = {"stage": "1", "step": 5, "plan_epoch": 1, "batch": 1}
    assert place.items() <= skipped.items()
    assert skipped["wrong"] == "bce is nan"
    assert skipped["suspects"] == len(skipped["keys"]) > 0
    told = caplog.messages[0]
    assert told.startswith("step skipped: stage 1, step 5: bce is nan; these ")
    assert f"images give such numbers alone: '{skipped['keys'][0]}'" in told
    assert "1 skipped step so far, see `skipped_steps` in the result" in caplog.messages

    assert [entry["skipped_steps"] for entry in result["history"]] == [0, 1]
    lines = _lines(tmp_path)
    assert [line["step"] for line in lines if line["kind"] == "step"] == [1, 2, 3, 4, 6]
    (line,) = [line for line in lines if line["kind"] == "skipped"]
    assert line == {"kind": "skipped", **skipped}

    # The command that it names lists the batch, with those images.
    command = told.partition("; its batch: ")[2].split()
    assert command[:3] == ["python", "-m", "retdm.data"]
    listed = subprocess.run(
        [sys.executable, *command[1:]], capture_output=True, text=True, timeout=240, check=True
    )
    (batch,) = [json.loads(row) for row in listed.stdout.splitlines()]
    assert (batch["batch"], len(batch["keys"])) == (1, skipped["images"])
    rows = {key: row for row, key in enumerate(open_split(config.data.url, "train").table.keys)}
    assert sorted(rows[key] for key in batch["keys"] if rows[key] % 5 == 0) == [
        rows[key] for key in skipped["keys"]
    ]


def test_the_epochs_means_leave_skipped_steps_out(small, tmp_path):
    with poison({1}):
        run = _train(small(*BCE), tmp_path)
    steps = [line for line in _lines(tmp_path) if line["kind"] == "step"]
    assert [line["step"] for line in steps] == [1, 3]
    for part in ("total", "gradient_norm"):
        mean = sum(line[part] for line in steps) / 2
        assert run.history[0][f"train/{part}"] == pytest.approx(mean, rel=1e-12)


def test_a_run_with_more_skipped_steps_than_it_may_have_ends_with_the_reason(
    small, tmp_path, capsys
):
    more = ("run.max_skipped_steps=1", "run.precision=bf16", "optimizer.clip_norm=2")
    config = small(*BCE, *more, "optimizer.loss_scale=8", "stages.1.epochs=2")
    message = (
        r"stage 1, step 5: bce is nan; these images give such numbers "
        r"alone: '.*'; 2 steps of this run had to be skipped \(at the end 2, 5\), "
        r"run\.max_skipped_steps=1 allows for no more; lower optimizer\.lr \(now 0\.01\), lower "
        r"optimizer\.clip_norm \(now 2\), lower optimizer\.loss_scale \(now 8\) or set "
        r"run\.precision=fp32, under another --run-name$"
    )
    with poison({1, 4}), pytest.raises(DivergenceError, match=message):
        _train(config, tmp_path)
    with poison({1, 4}):
        assert console.run(lambda: _train(config, tmp_path) and 0) == 2
    assert capsys.readouterr().err.splitlines()[-1].startswith("error: stage 1, step 5: bce is")


def test_a_run_that_may_skip_more_goes_on_where_it_ended(small, tmp_path):
    with poison({1, 4}):
        with pytest.raises(DivergenceError, match=r"run\.max_skipped_steps=1 allows"):
            _train(small(*BCE, "stages.1.epochs=2", "run.max_skipped_steps=1"), tmp_path)
        run = _train(small(*BCE, "stages.1.epochs=2", "run.max_skipped_steps=2"), tmp_path)
    assert [step["step"] for step in run.skipped.to_tables()] == [2, 5]


def test_an_epoch_of_skipped_steps_alone_ends_the_run(small, tmp_path):
    message = (
        r"stage 1, step 3: every step of this epoch had to be skipped, see the warnings; lower"
    )
    config = small(*BCE, "run.max_skipped_steps=99")
    with poison({0, 1, 2}), pytest.raises(DivergenceError, match=message):
        _train(config, tmp_path)


def _on_two_ranks(rank, url, root, culprit, limit):
    """A whole run in which one rank's loss is not finite at two steps."""
    config = settings(url, f"run.max_skipped_steps={limit}", "run.log_every_steps=1")
    with poison({1, 7}, only_rank=culprit):
        try:
            run = _train(config, root)
        except DivergenceError as error:
            return str(error)
    bank = run.bank.state_dict()
    bank.pop("drift")  # which rank 0 alone reports, and so starts anew
    return run.skipped.to_tables(), bank, run.method.state_dict()


def test_ranks_stay_together_through_skipped_steps(ranks, shards, tmp_path):
    one, other = ranks(2).run(_on_two_ranks, shards, tmp_path, 1, 2)
    assert one[0] == other[0]
    torch.testing.assert_close(one[1:], other[1:], rtol=0, atol=0)
    assert [step["step"] for step in one[0]] == [2, 8]
    assert all("is nan on rank 1" in step["wrong"] for step in one[0])
    assert all(value.isfinite().all() for value in one[2].values())


def test_ranks_end_together_when_there_are_too_many(ranks, shards, tmp_path):
    one, other = ranks(2).run(_on_two_ranks, shards, tmp_path, 0, 1)
    assert one == other
    assert "stage 3, step 8: " in one
    assert "on rank 0" in one


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
def test_a_loss_scale_changes_no_bit_of_a_run(small, tmp_path, precision):
    def weights(*more):
        own = ("stages.*.epochs=1", f"run.precision={precision}", "run.deterministic=true", *more)
        return _train(small(*own), tmp_path / str(len(more))).method.state_dict()

    scaled = weights("optimizer.loss_scale=1024")
    torch.testing.assert_close(scaled, weights(), rtol=0, atol=0)


def test_a_loss_scale_that_is_too_large_skips_steps_and_is_named(small, tmp_path):
    message = r"gradient_norm is (nan|inf);.*lower optimizer\.loss_scale \(now 1\.7.*e\+38\)"
    # A network whose gradients are large enough for it.
    own = ("model.backbone=resnet18", "run.max_skipped_steps=0")
    config = small(*BCE, *own, f"optimizer.loss_scale={2.0**127}")
    with pytest.raises(DivergenceError, match=message):
        _train(config, tmp_path)
