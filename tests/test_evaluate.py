"""`python -m retdm.evaluate` on score files."""

import json
import os
import subprocess
import sys

import numpy as np
import pytest

from retdm import console
from retdm import evaluate as program
from retdm.evaluation import evaluate
from retdm.storage import join_url, open_store

SCORES = np.array([[0.9, 0.2, 0.7], [0.1, 0.8, 0.3]])
TARGETS = np.array([[1, 0, 1], [1, 1, 0]])


@pytest.fixture
def score_file(tmp_path):
    path = tmp_path / "scores.npz"
    np.savez(path, scores=SCORES, targets=TARGETS)
    return path


def run(*arguments):
    return console.run(lambda: program.main([str(a) for a in arguments]))


def test_json_holds_the_metrics_and_the_table_is_printed(score_file, tmp_path, capsys):
    out = tmp_path / "deep/metrics.json"
    assert run("--scores", score_file, "--json", out) == 0
    report = json.loads(out.read_text())
    assert report["metrics"] == evaluate(SCORES, TARGETS)
    assert (report["images"], report["labels"], report["threshold"]) == (2, 3, 0.5)
    assert os.listdir(out.parent) == ["metrics.json"]
    assert "mAP" in capsys.readouterr().out


def test_threshold_and_data_set(score_file, tmp_path, capsys):
    out = tmp_path / "m.json"
    assert (
        run("--scores", score_file, "--json", out, "--threshold", 0.75, "--dataset", "scene") == 0
    )
    assert json.loads(out.read_text())["metrics"] == evaluate(SCORES, TARGETS, threshold=0.75)
    assert "RETDM (paper)" in capsys.readouterr().out


def test_undefined_metrics_are_null(tmp_path):
    path, out = tmp_path / "s.npz", tmp_path / "m.json"
    np.savez(path, scores=SCORES, targets=TARGETS * 0)
    assert run("--scores", path, "--json", out) == 0
    metrics = json.loads(out.read_text(), parse_constant=pytest.fail)["metrics"]
    assert metrics["mAP"] is None
    assert metrics["hamming_loss"] == 0.5


def test_as_a_program_in_the_current_folder(score_file):
    command = [
        sys.executable,
        "-m",
        "retdm.evaluate",
        "--scores",
        "scores.npz",
        "--json",
        "m.json",
    ]
    done = subprocess.run(command, cwd=score_file.parent, capture_output=True, text=True)
    assert (done.returncode, done.stderr) == (0, "")
    assert "toolbox.ranking_loss" in done.stdout
    assert json.loads((score_file.parent / "m.json").read_text())["metrics"]["OP"] == 1.0


def test_bad_input_exits_with_2_and_writes_nothing(tmp_path, capsys):
    path, out = tmp_path / "s.npz", tmp_path / "m.json"
    np.savez(path, scores=SCORES * 2, targets=TARGETS)
    assert run("--scores", path, "--json", out) == 2
    assert f"error: {path}: scores[0, 0] is 1.8" in capsys.readouterr().err
    assert not out.exists()


def test_a_missing_file_exits_with_2(tmp_path, capsys):
    assert run("--scores", tmp_path / "none.npz") == 2
    assert "none.npz: no such file" in capsys.readouterr().err


def test_a_folder_is_not_a_file(tmp_path, capsys):
    assert run("--scores", f"{tmp_path}/") == 2
    assert "names a folder, not a file" in capsys.readouterr().err


def test_a_target_that_cannot_be_written_exits_with_2(score_file, tmp_path, capsys):
    (tmp_path / "m.json").mkdir()
    assert run("--scores", score_file, "--json", tmp_path / "m.json") == 2
    assert "m.json" in capsys.readouterr().err
    assert sorted(os.listdir(tmp_path)) == ["m.json", "scores.npz"]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give either RUN_URL or --scores"),
        (["run", "--scores", "s.npz"], "give either RUN_URL or --scores"),
        (["--scores", "s.npz", "--data", "d"], "--data belongs to RUN_URL"),
        (["--scores", "s.npz", "--threshold", "high"], "invalid float value: 'high'"),
    ],
)
def test_wrong_usage(arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(*arguments)
    assert message in capsys.readouterr().err


def test_scores_and_json_on_s3(score_file, s3):
    url = s3.url()
    open_store(url).write("scores.npz", score_file)
    assert run("--scores", join_url(url, "scores.npz"), "--json", join_url(url, "m.json")) == 0
    assert json.loads(open_store(url).read("m.json"))["metrics"] == evaluate(SCORES, TARGETS)
