"""jobs/tune.py as a program: what it refuses before anything runs."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
pytestmark = pytest.mark.slow
URL = "--set=data.url=/nowhere"


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ([], "error: data.url is empty; name the shard set, for example --set data.url="),
        ([URL, "--trials", "0"], "scene.toml, [tune]: trials is 0: Input should be greater"),
        ([URL, "--concurrency", "0"], "error: --concurrency 0: give 1 or more"),
        ([URL, "--workers", "x"], "error: --workers 'x': give a number N or a range MIN:MAX"),
        ([URL, "--set=loss.kk=1"], "unknown setting loss.kk; did you mean loss.k?"),
        ([URL, "--set=tune.space.loss.k={int=[9, 1]}"], "give the lower end, then a higher one"),
        ([URL, "--storage", __file__], f"error: --storage {__file__}: {__file__}"),
        ([URL], "/nowhere"),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, message):
    recipe = str(ROOT / "jobs/recipes/scene.toml")
    words = [recipe, "--storage", str(tmp_path / "runs"), *arguments]
    done = subprocess.run(
        [sys.executable, str(ROOT / "jobs/tune.py"), *words],
        cwd=tmp_path, env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()
