"""The command line of jobs/train.py: what it refuses before any worker starts."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retdm.config import load_config
from retdm.errors import CheckpointError, ConfigError
from retdm.labels import LabelSpace
from retdm.onray.run_record import prepare
from retdm.onray.workers import Workers
from retdm.storage import open_store
from tests.checkpoints import publish_epoch

ROOT = Path(__file__).resolve().parents[2]
RECIPES = sorted((ROOT / "jobs/recipes").glob("*.toml"))


def _train(*arguments, cwd, **variables):
    command = [sys.executable, str(ROOT / "jobs/train.py"), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT), **variables}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=240)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["no.toml"], "error: no.toml: no such file"),
        ([str(RECIPES[0])], "error: data.url is empty; name the shard set"),
        (
            [str(RECIPES[0]), "--set", "bank.sise=3"],
            "unknown setting bank.sise; did you mean bank.size?",
        ),
        (
            [str(RECIPES[0]), "--set", "data.url=nowhere"],
            "no manifest.json, so there is no finished shard set here",
        ),
        (
            [str(RECIPES[0]), "--set", "data.url=/a/set", "--storage", "/a/set/runs"],
            f"error: /a/set/runs/{RECIPES[0].stem}-retdm-s0: this is in the shard set, /a/set;",
        ),
        (
            [str(RECIPES[0]), "--dry-run", "--storage", __file__],
            f"error: --storage {__file__}: {__file__} is a file, not a folder; give another",
        ),
        (
            [str(RECIPES[0]), "--set", "data.url=x", "--profile", "10:20"],
            "error: --profile '10:20': give steps=FROM:TO, for example steps=10:20",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, message):
    done = _train("--storage", str(tmp_path / "runs"), *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.mark.slow
@pytest.mark.parametrize("wrong", ["--storage=s3://b/runs", "--set=data.url=s3://b/data"])
def test_a_dry_run_finds_storage_and_data_that_cannot_be_reached(tmp_path, wrong):
    unreachable = {
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "a",
        "AWS_SECRET_ACCESS_KEY": "b",
        "RETDM_S3_PATIENCE_S": "0.2",
    }
    here = ("--storage", str(tmp_path / "runs"))
    words = (str(RECIPES[0]), "--dry-run", *here, wrong)
    done = _train(*words, cwd=tmp_path, **unreachable)
    assert done.returncode == 2, done.stderr
    assert done.stdout == ""
    [line] = done.stderr.splitlines()
    assert line.startswith("error: s3://b/")
    assert "cannot reach http://127.0.0.1:1 " in line
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_passes_a_dry_run(tmp_path, recipe):
    done = _train(str(recipe), "--workers", "8", "--dry-run", cwd=tmp_path)
    assert done.returncode == 0, done.stderr
    for line in (
        "data: NOT CHECKED",
        "  data.batch_size = ",
        "asks Ray for: 8 workers, each 1 CPU",
        "stage 1: trains image, classifier on bce",
        "reading: score",
    ):
        assert line in done.stdout
    assert "warning: " not in done.stdout


@pytest.mark.parametrize("recipe", RECIPES, ids=lambda path: path.stem)
def test_every_recipe_opens_with_command_hardware_hours_and_numbers(recipe):
    head = recipe.read_text().partition("\n\n")[0]
    for word in ("# Run:", "# Needs:", "# Takes:", "# Expect:"):
        assert word in head


@pytest.mark.parametrize(
    ("text", "expected"), [("2", 2), ("1:4", (1, 4)), ("3:3", 3)], ids=["fixed", "range", "same"]
)
def test_workers_are_a_number_or_a_range(text, expected):
    assert Workers.parse(text).for_ray == expected


@pytest.mark.parametrize("text", ["0", "x", "4:1", ":2", "1:", "-1", "²", "1:²"])
def test_other_workers_are_refused(text):
    with pytest.raises(ConfigError, match="--workers"):
        Workers.parse(text)


SPACE = LabelSpace(("a", "b"))


READING = {"score": "inv"}


def _prepare(
    folder, resume="auto", *, overrides=(), labels=SPACE, digest="d" * 64, reading=READING
):
    config = load_config(ROOT / "jobs/recipes/demo.toml", overrides)
    record = {
        "config": config.model_dump(mode="json"),
        "labels": list(labels.names),
        "data_digest": digest,
        "reading": reading,
    }
    return prepare(open_store(str(folder)), record, resume)


def _begin(folder):
    """A run with one checkpoint."""
    _prepare(folder)
    publish_epoch(open_store(str(folder)), "1", 1)


def test_settings_can_be_mended_until_there_is_a_checkpoint(tmp_path):
    _prepare(tmp_path, overrides=["loss.k=7"])
    assert _prepare(tmp_path) is False


def test_a_fresh_run_is_recorded(tmp_path):
    assert _prepare(tmp_path) is False
    assert (tmp_path / "run.json").exists()
    assert _prepare(tmp_path, "must") is False


@pytest.mark.parametrize(
    ("keywords", "message"),
    [
        ({"resume": "never"}, "a run of this name exists; choose another --run-name"),
        ({"overrides": ["loss.k=7"]}, r"other settings \(loss\.k: 5 -> 7\)"),
        ({"digest": "e" * 64}, r"trained on shard set dddddddddddd, .* now holds eeeeeeeeeeee"),
        (
            {"labels": LabelSpace(("a", "c"))},
            r"has 2 \(missing: b; extra: c",
        ),
        (
            {"reading": {"score": "inv", "ties": "random"}},
            r"begun when the method took other readings \(ties: 'not stated' -> 'random'\); use "
            "another --run-name, or remove this folder to train it anew",
        ),
    ],
)
def test_another_run_of_the_same_name_is_refused(tmp_path, keywords, message):
    _begin(tmp_path)
    with pytest.raises(CheckpointError, match=message):
        _prepare(tmp_path, **keywords)


def test_a_run_of_a_version_that_kept_no_readings_goes_on(tmp_path):
    _begin(tmp_path)
    record = json.loads((tmp_path / "run.json").read_text())
    assert record.pop("reading") == READING
    (tmp_path / "run.json").write_text(json.dumps(record))
    assert _prepare(tmp_path, reading={"score": "other"}) is False


def test_a_finished_run_keeps_the_readings_that_its_result_states(tmp_path):
    _begin(tmp_path)
    (tmp_path / "result.json").write_bytes((tmp_path / "run.json").read_bytes())
    assert _prepare(tmp_path, reading={"score": "other"}) is True
    with pytest.raises(CheckpointError, match="score: 'inv' -> 'other'"):
        _prepare(tmp_path, reading={"score": "other"}, overrides=["stages.3.epochs=9"])


def test_must_resume_needs_something_to_resume(tmp_path):
    with pytest.raises(CheckpointError, match="no run of this name to resume; check --storage"):
        _prepare(tmp_path, "must")
    assert not (tmp_path / "run.json").exists()


def test_a_finished_run_is_not_trained_again_unless_it_gets_more_epochs(tmp_path):
    _begin(tmp_path)
    (tmp_path / "result.json").write_bytes((tmp_path / "run.json").read_bytes())
    assert _prepare(tmp_path) is True
    assert _prepare(tmp_path, overrides=["stages.3.epochs=9"]) is False
    # It died before it got there: the result that is there is still that of fewer epochs.
    assert _prepare(tmp_path, overrides=["stages.3.epochs=9"]) is False


@pytest.mark.parametrize("file", ["run.json", "result.json"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"{", r"not JSON \(.*\); restore the file, or use another --run-name"),
        (b"[1]", r"not the re.* of a run; restore the file, or use another --run-name"),
        (b'{"config": 1}', r"not the re.* of a run; .*\(config: Input should be"),
    ],
)
def test_a_damaged_file_of_a_run_is_named(tmp_path, file, content, message):
    _begin(tmp_path)
    (tmp_path / file).write_bytes(content)
    with pytest.raises(CheckpointError, match=f"/{file}: {message}"):
        _prepare(tmp_path)


def test_a_result_without_stages_is_not_that_of_a_finished_run(tmp_path):
    _begin(tmp_path)
    (tmp_path / "result.json").write_bytes(b'{"config": {"stages": {"1": 5}}}')
    assert _prepare(tmp_path) is False
