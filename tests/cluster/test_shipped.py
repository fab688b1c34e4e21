"""What `ray job submit --working-dir .` sends, by Ray's own packaging, and that it suffices."""

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from zipfile import ZipFile

import pytest

ROOT = Path(__file__).resolve().parents[2]
MOST_BYTES = 5 * 2**20
BESIDE = (
    ".git/config",
    ".venv/bin/python",
    ".env",
    ".aws/credentials",
    ".demo/s3/secret",
    ".s3/secret",
    ".ray/token",
    "tests/data/photo.jpg",
    "cluster/local/key.pem",
    "photos/a.jpg",
    "photos/retdm/b.jpg",
    "mine/x.toml",
    "key.pem",
    "model.pt",
    "retdm/__pycache__/errors.cpython-311.pyc",
)
"""Files that may lie in a checkout and are nobody's business."""


def _package(folder, to):
    from ray._private.runtime_env.packaging import create_package

    create_package(str(folder), to, include_gitignore=True)
    return to


def _needed(top):
    """Files of the checkout without which a job may fail, as names in the package."""
    files = [path for path in (ROOT / top).rglob("*") if path.is_file()]
    return {str(path.relative_to(ROOT)) for path in files if path.suffix != ".pyc"}


@pytest.fixture(scope="module")
def package(tmp_path_factory):
    return _package(ROOT, tmp_path_factory.mktemp("package") / "p.zip")


def test_the_checkout_is_sent_in_less_than_five_mebibytes(package):
    assert package.stat().st_size < MOST_BYTES


@pytest.mark.parametrize("page", ["README.md", "cluster/RUNNING.md"])
def test_pages_say_how_much_is_sent(package, page):
    [told] = re.findall(r"and `\*\.toml`, ([\d.]+) MB\.", (ROOT / page).read_text())
    assert float(told) == pytest.approx(package.stat().st_size / 1e6, rel=0.1)


def test_all_that_jobs_are_made_of_is_sent_and_nothing_else(package):
    needed = _needed("retdm") | _needed("jobs") | _needed("shards") | {"pyproject.toml"}
    names = {name for name in ZipFile(package).namelist() if not name.endswith("/")}
    assert names == needed


def test_nothing_that_lies_beside_is_sent_but_recipes_and_specs(tmp_path):
    checkout = tmp_path / "checkout"
    for name in (".gitignore", ".rayignore"):
        checkout.mkdir(exist_ok=True)
        shutil.copy(ROOT / name, checkout)
    for name in (*BESIDE, "mine.toml", "retdm/errors.py", "jobs/recipes/mine.toml"):
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        (checkout / name).write_text("x")
    names = ZipFile(_package(checkout, tmp_path / "p.zip")).namelist()
    assert sorted(names) == ["jobs/recipes/mine.toml", "mine.toml", "retdm/errors.py"]


@pytest.mark.slow
def test_what_was_sent_runs_without_the_checkout(package, tmp_path):
    with ZipFile(package) as sent:
        sent.extractall(tmp_path)
    # As in a job: the folder is the working one and on the path of all of its processes.
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    for words, said in (
        (["jobs/train.py", "jobs/recipes/demo.toml", "--dry-run"], "model: "),
        (["-m", "retdm.shard", "build", "--help"], "usage: "),
    ):
        done = subprocess.run(
            [sys.executable, *words], cwd=tmp_path, env=env, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        assert said in done.stdout
