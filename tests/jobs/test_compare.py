"""jobs/compare.py as a program: what it refuses, and a real small comparison on Ray."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from retdm.shard.build import build
from retdm.shard.spec import load_spec
from tests.train.conftest import SMALL

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "jobs/recipes/demo.toml"

pytestmark = pytest.mark.slow


def compare(*arguments, cwd, recipe=RECIPE):
    command = [sys.executable, str(ROOT / "jobs/compare.py"), str(recipe), *arguments]
    env = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(command, cwd=cwd, env=env, capture_output=True, text=True, timeout=800)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--methods", "bce"], "error: data.url must be set and the same in all columns"),
        ([], "error: nothing to compare; give --methods"),
        (["--methods", "bce", "--seeds", "0,0"], "--seeds '0,0': give different whole numbers"),
        (["--methods", "bce", "--seeds", "00,0"], "--seeds '00,0': give different whole numbers"),
        (["--methods", "bce", "--seeds", "²"], "--seeds '²': give different whole numbers"),
        (
            ["--methods", "bce,,asl"],
            "--methods 'bce,,asl': a name is missing; write it as bce,asl",
        ),
        (["--methods", "bce, bce"], "bce: named more than once"),
        (
            ["--methods", "bce", "--storage", __file__],
            f"error: --storage {__file__}: {__file__}",
        ),
        (["--methods", "bce", "--baseline", "asl"], "--baseline 'asl' is not a column"),
        (["--methods", "bce", "--concurrency", "0"], "--concurrency 0: give 1 or more"),
        (["--methods", "bce", "--set", "loss.kk=1"], "did you mean loss.k?"),
        (
            ["--methods", "bce", "--set", "data.url=/a/set", "--storage", "/a/set/runs"],
            "error: /a/set/runs/demo-compare: this is in the shard set, /a/set; give a --storage",
        ),
    ],
)
def test_bad_input_is_one_line_and_status_2(tmp_path, arguments, message):
    done = compare("--storage", str(tmp_path / "runs"), *arguments, cwd=tmp_path)
    assert done.returncode == 2, done.stderr
    assert message in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "runs").exists()


@pytest.fixture(scope="module")
def shards(tmp_path_factory):
    folder = tmp_path_factory.mktemp("scenes")
    spec, options = load_spec(
        ROOT / "shards/synthetic.toml",
        ["options.images=60", "options.size=48", "shards.samples=10"],
    )
    (folder / "source").mkdir()
    build(spec, options, source=folder / "source", out=str(folder / "shards"))
    return str(folder / "shards")


def test_a_dry_run_lists_all_cells_and_fails_at_the_end_if_one_would(shards, tmp_path):
    given = [f"--set=data.url={shards}", "--storage", str(tmp_path), "--run-name=t", "--dry-run"]
    given += ["--methods= asl, softmax", "--variant=same:method=softmax,loss.tau=0.3"]
    first = compare(*given, cwd=tmp_path)
    assert first.returncode == 0, first.stderr
    assert (
        "warning: column same shows the runs of softmax: loss.tau without effect on method softmax"
        in first.stderr
    )
    asl, softmax = first.stdout.splitlines()
    assert asl.startswith("1 of 2  asl, seed 0 (asl-s0-")
    assert softmax.startswith("2 of 2  softmax, same, seed 0 (softmax-s0-")
    folder = tmp_path / "t/cells" / asl.partition("(")[2].partition(")")[0]
    folder.mkdir(parents=True)
    (folder / "result.json").write_text('{"config": {}, "reading": {}}')
    second = compare(*given, cwd=tmp_path)
    assert second.returncode == 2
    told, same = second.stdout.splitlines()
    assert f"; error: {folder}: finished when the method took other readings (asl: 'not" in told
    assert same == softmax
    assert second.stderr.splitlines()[-1] == (
        "error: 1 run of 2 would fail; what to do is said in the list"
    )


@pytest.mark.cluster
@pytest.mark.timeout(1500)
def test_cells_share_fail_alone_and_are_reused(shards, tmp_path):
    sets = [f"--set={one}" for one in (f"data.url={shards}", *SMALL, "run.max_failures=0")]
    common = [*sets, "--storage", str(tmp_path), "--run-name", "t", "--concurrency", "1"]
    # Diverges in its own stages, after the stage it shares.
    wild = "--variant=wild:method=bce,stages.3.lr=1e30"
    first = compare("--methods=bce", wild, *common, cwd=tmp_path)
    assert first.returncode == 1, first.stderr[-3000:]
    found = json.loads((tmp_path / "t/compare.json").read_text())
    assert found["complete"] is False
    assert [one["title"] for one in found["failures"]] == ["wild, seed 0"]
    assert "lower optimizer.lr" in found["failures"][0]["error"]
    assert "failed: wild, seed 0" in first.stderr
    assert "cell 3 of 3" in first.stderr
    assert found["columns"]["bce"]["seeds"] == [0]
    bce = tmp_path / "t/cells" / next(c["cell"] for c in found["cells"] if c["columns"] == ["bce"])
    result = json.loads((bce / "result.json").read_text())
    assert "/cells/stage1-s0-" in result["config"]["start_from"]
    assert set(result["thresholds"]) == set(result["labels"])
    assert "fitted.OF1" in result["metrics"]["test"]
    written = (bce / "result.json").stat().st_mtime_ns

    listed = compare("--methods=bce,retdm", *common, "--dry-run", cwd=tmp_path)
    assert listed.returncode == 0
    assert listed.stdout.count("finished, reused") == 2
    assert listed.stdout.count("to run") == 1

    second = compare("--methods=bce,retdm", *common, cwd=tmp_path)
    assert second.returncode == 0, second.stderr[-3000:]
    found = json.loads((tmp_path / "t/compare.json").read_text())
    assert found["complete"] is True
    assert {tuple(c["columns"]): c["how"] for c in found["cells"]} == {
        (): "reused",
        ("bce",): "reused",
        ("retdm",): "trained",
    }
    assert (bce / "result.json").stat().st_mtime_ns == written
    for name in ("compare.md", "compare.html"):
        assert "retdm" in (tmp_path / "t" / name).read_text()
