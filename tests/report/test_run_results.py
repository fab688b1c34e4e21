"""Scores and results of runs on one page, without training any: which belong to each other."""

import io
import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest

from retdm.config import Config
from retdm.config.schema import DataSettings
from retdm.data.split import open_split
from retdm.evaluation.inputs import ScoresError
from retdm.report import run_scores
from retdm.report.run_files import RunFiles
from retdm.report.run_page import run_page
from retdm.report.run_results import cautions, metric_columns
from retdm.report.run_scores import SplitScores, by_model, parse_rows
from retdm.report.score_figures import Scored
from retdm.storage import open_store
from tests.train.conftest import shards  # noqa: F401

LABELS = ["a", "b"]


def run_of(folder, *, metrics=None, history=(), labels=LABELS):
    return RunFiles(
        store=open_store(str(folder)),
        name="run",
        config={"method": "bce", "seed": 0},
        reading={},
        labels=labels,
        data_digest="d",
        history=list(history),
        lines=[],
        damaged=0,
        result=None if metrics is None else {"metrics": metrics},
    )


def scores_of(split, settings=None, *, data=None, targets=None):
    targets = np.eye(2, dtype=np.bool_)[[0, 1, 0]] if targets is None else targets
    scored = Scored("run", LABELS, targets * np.float32(0.9), targets, 0.5)
    rows = np.arange(len(targets))
    settings = settings or DataSettings()
    return SplitScores(scored, split, "a file", settings, rows, data, "", None, None)


@pytest.mark.parametrize("role", ["test", "val"])
def test_a_result_is_of_the_split_that_the_settings_name(tmp_path, role):
    run = run_of(tmp_path, metrics={role: {"mAP": 0.5}})
    scored = scores_of("holdout", DataSettings(**{f"{role}_split": "holdout"}))
    (column,) = metric_columns([run], [scored]).values()
    assert column == {"mAP": 0.5}
    (caution,) = cautions([run], [scored])
    assert "an mAP of 0.5000 on split holdout in its result" in caution


def test_a_split_that_is_called_as_another_is_used_has_a_column_of_its_own(tmp_path):
    run = run_of(tmp_path, metrics={"test": {"mAP": 0.5}})
    scored = scores_of("test", DataSettings(test_split="holdout"))
    assert list(metric_columns([run], [scored])) == ["run", "run (test, computed here)"]
    assert cautions([run], [scored]) == []


def test_of_equal_epochs_of_a_run_that_goes_on_the_latest_is_told(tmp_path):
    epochs = [
        {"stage": "1", "epoch": n, "step": n, "rank_score": score, "val/mAP": score}
        for n, score in ((1, 0.25), (2, 0.5), (3, 0.5), (4, 0.25))
    ]
    columns = metric_columns([run_of(tmp_path, history=epochs)], [])
    assert columns == {"run (val, stage 1 epoch 3)": {"mAP": 0.5}}


@pytest.mark.parametrize("checkpoint, used", [("best", True), ("another", False)])
def test_thresholds_are_those_of_the_checkpoint_that_scored(
    tmp_path, monkeypatch, checkpoint, used
):
    one = scores_of("val").scored
    found = SimpleNamespace(
        data=SimpleNamespace(label_space=SimpleNamespace(names=LABELS)),
        scores=one.scores,
        targets=one.targets,
        config=Config(),
        checkpoint="best",
        rows=np.arange(3),
    )
    monkeypatch.setattr(run_scores, "evaluate_run", lambda *_, **__: found)
    run = run_of(tmp_path, metrics={"test": {"mAP": 0.5}})
    result = {"thresholds": {"a": 0.25, "b": 0.5}, "checkpoint": checkpoint}
    run.store.write("result.json", json.dumps(result).encode())
    scored = by_model(run, data_url="", split="val")
    assert (scored.fitted is not None) == used
    computed = metric_columns([run], [scored])["run (val, computed here)"]
    assert any(name.startswith("fitted") for name in computed) == used


@pytest.mark.parametrize("broken", ["objects", "damage"])
def test_rows_that_cannot_be_read_are_named(broken):
    out = io.BytesIO()
    np.savez(out, rows=np.array([{}], dtype=object) if broken == "objects" else np.arange(3))
    content = out.getvalue()
    if broken == "damage":
        content = content.replace(np.arange(3).tobytes(), b"\xff" * 24)
    with pytest.raises(
        ScoresError, match=r"s\.npz: its array 'rows' cannot be.*as int64, or leav"
    ):
        parse_rows(content, name="s.npz", images=3)


def test_photos_that_cannot_be_read_leave_the_reason_in_their_place(shards, tmp_path):  # noqa: F811
    shutil.copytree(shards, tmp_path / "shards")
    data = open_split(str(tmp_path / "shards"), "test")
    for shard in (tmp_path / "shards").rglob("*.tar"):
        shard.unlink()
    scored = scores_of("test", data=data, targets=np.asarray(data.table.targets[:, :2]))
    page = run_page([run_of(tmp_path)], [scored], photos=True)
    assert re.search(
        r"<p class=failed>No photos of run: [^<]*\.tar[^<]*: the shard is missing", page
    )
