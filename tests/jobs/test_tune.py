"""jobs/tune.py as a program: what it refuses before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from retdm.config import load_search
from retdm.data.manifest import load_manifest
from retdm.onray.tune_plan import about, plan_search
from retdm.onray.workers import Workers
from retdm.storage import open_store
from retdm.tuning.database import open_database
from tests.onray.conftest import shards

__all__ = ["shards"]
ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
URL = "--set=data.url=/nowhere"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: data.url is empty; name the shard set, for example --set data.url="),
        ([URL, "--trials", "0"], "scene.toml: tune.trials is 0: Input should be greater"),
        ([URL, "--concurrency", "0"], "error: --concurrency 0: give 1 or more"),
        ([URL, "--workers", "x"], "error: --workers 'x': give a number N or a range MIN:MAX"),
        ([URL, "--set=loss.kk=1"], "unknown setting loss.kk; did you mean loss.k?"),
        ([URL, "--set=tune.space.loss.k={int=[9, 1]}"], "give the lower end, then a higher one"),
        ([URL, "--storage", __file__], f"error: --storage {__file__}: {__file__}"),
        (
            [URL, "--storage=/nowhere/runs"],
            "error: /nowhere/runs/scene-tune: this is in the shard",
        ),
        ([URL], "/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, message):
    done = _tune("--storage", str(tmp_path / "runs"), *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


def _tune(*arguments, cwd):
    recipe = str(ROOT / "jobs/recipes/scene.toml")
    return subprocess.run(
        [sys.executable, str(ROOT / "jobs/tune.py"), recipe, *arguments],
        cwd=cwd, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip


def test_what_is_known_is_told_and_nothing_is_written(shards, tmp_path):
    data, runs = f"--set=data.url={shards}", tmp_path / "runs"
    words = (data, "--storage", str(runs), "--run-name", "s")
    new = _tune(*words, "--dry-run", cwd=tmp_path)
    assert new.returncode == 0, new.stderr
    assert new.stdout.splitlines()[-1] == "study: a new one"
    missed = _tune(*words, "--resume", "must", cwd=tmp_path)
    assert missed.returncode == 2
    told = (
        f"error: study s in {runs}/s/study.db: no search of this name to go on with; check --sto"
    )
    assert missed.stderr.splitlines()[-1].startswith(told)
    assert not runs.exists()

    with open_database(open_store(str(runs / "s")), "") as database:
        study = database.study("s", ("mAP",), {"of": "another search"}, "auto")
        study.ask()
    before = (runs / "s/study.db").read_bytes()
    other = _tune(*words, "--dry-run", cwd=tmp_path)
    assert other.returncode == 2
    assert f"error: study s in {runs}/s/study.db: of another search (" in other.stderr
    never = _tune(*words, "--dry-run", "--resume", "never", cwd=tmp_path)
    assert "a search of this name exists; choose another --run-name" in never.stderr
    assert [path.name for path in (runs / "s").iterdir()] == ["study.db"]
    assert (runs / "s/study.db").read_bytes() == before


def test_a_search_whose_earlier_programs_took_its_hours_begins_no_more_trials(shards, tmp_path):
    runs, overrides = tmp_path / "runs", [f"data.url={shards}", "tune.hours=1"]
    store = open_store(str(runs / "s"))
    table, tune = load_search(ROOT / "jobs/recipes/scene.toml", overrides)
    manifest = load_manifest(open_store(shards))
    workers = Workers(1, 1)
    plan = plan_search(
        table, tune, home=store.url, manifest=manifest, workers=workers, source="recipe"
    )
    with open_database(store, "") as database:
        study = database.study("s", tune.metrics, about(plan, manifest.digest), "auto")
        study.set_user_attr("spent seconds", 3600.0)
    options = [f"--set={pair}" for pair in overrides]
    done = _tune(*options, "--storage", str(runs), "--run-name", "s", cwd=tmp_path)
    assert done.returncode == 1, done.stderr
    assert "study: goes on with 0 trials, 1 h so far\n" in done.stdout
    assert "the search has had its tune.hours=1; give it more to go on\n" in done.stderr
    assert "Ray" not in done.stderr
