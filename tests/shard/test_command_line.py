"""`python -m retdm.shard`: what it prints and its exit status."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest


@pytest.fixture
def arguments(source, tmp_path):
    spec = source / "spec.toml"
    return ["build", spec, "--source", source, "--out", tmp_path / "out"]


def test_build_verify_stats(cli, arguments, tmp_path):
    status, out, err = cli(*arguments, "--set", "split.seed=4")
    assert (status, out.split("\n")[0].split(",")[0]) == (0, "train: 14 photos in 4 shards")
    assert "packing [####################] 20/20 photo" in err
    assert cli("verify", tmp_path / "out")[:2] == (0, f"{tmp_path / 'out'}: sound\n")
    status, out, _ = cli("stats", tmp_path / "out", "--json")
    assert status == 0
    assert set(json.loads(out)["splits"]["train"]) >= {
        *("samples", "shards", "bytes", "cardinality", "label_sets", "label_counts")
    }
    assert "cardinality" in cli("stats", tmp_path / "out")[1]


def test_build_twice(cli, arguments):
    assert cli(*arguments)[0] == 0
    status, _, err = cli(*arguments)
    assert status == 2
    assert err.startswith("error: --out ")
    assert cli(*arguments, "--overwrite")[0] == 0


@pytest.mark.parametrize("workers", ["0", "-1", "many"])
def test_a_wrong_number_of_workers(cli, arguments, workers, capsys):
    with pytest.raises(SystemExit):
        cli(*arguments, "--workers", workers)
    assert f"{workers!r} is not a whole number from 1 on" in capsys.readouterr().err


def test_a_bad_source_is_one_line_and_status_2(cli, arguments, source):
    (source / "images/4.jpg").unlink()
    status, out, err = cli(*arguments)
    assert (status, out) == (2, "")
    assert err.startswith("error: labels.csv: row 6: photo '4.jpg' is not in ")
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    "annotations, message",
    [
        ('{"images": [{"id": 1', r"instances_train2014\.json: "),
        (
            json.dumps(
                {
                    "images": [{"id": 1, "file_name": "0.jpg"}],
                    "annotations": [{"id": 1, "image_id": 1, "category_id": 77, "iscrowd": 0}],
                    "categories": [{"id": 1, "name": "dog"}],
                }
            ),
            r"instances_train2014\.json: annotations\[0\]: .*77",
        ),
    ],
    ids=["cut off", "unknown category"],
)
def test_bad_coco_files_are_one_line_and_status_2(source, tmp_path, annotations, message):
    (source / "annotations").mkdir()
    for part in ("train", "val"):
        (source / f"annotations/instances_{part}2014.json").write_text(annotations)
        (source / f"{part}2014").symlink_to(source / "images")
    program = [sys.executable, "-m", "retdm.shard", "build", "shards/coco2014.toml"]
    done = subprocess.run(
        [*program, "--source", source, "--out", tmp_path / "out"],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
    )
    assert (done.returncode, done.stdout) == (2, "")
    assert re.match(rf"error: .*{message}", done.stderr)
    assert done.stderr.count("\n") == 1
    assert not (tmp_path / "out").exists()


def test_verify_lists_every_fault_and_gives_status_1(cli, shards):
    (shards / "val/000000.tar").unlink()
    (shards / "test/000000.tar").write_bytes(b"")
    status, out, _ = cli("verify", shards)
    assert status == 1
    lines = out.strip().split("\n")
    assert lines[0].startswith("val/000000.tar: missing")
    assert lines[-1] == f"{shards}: {len(lines) - 1} faults"
    assert all(line.startswith(("val/", "test/")) for line in lines[:-1])


@pytest.mark.parametrize("command", ["verify", "stats"])
def test_an_unsupported_url_is_status_2(cli, command):
    status, _, err = cli(command, "pipe:rm -rf x")
    assert status == 2
    assert "scheme 'pipe' is not supported" in err


@pytest.mark.parametrize("command", ["verify", "stats"])
def test_no_set_is_status_2(cli, tmp_path, command):
    assert cli(command, tmp_path) == (
        *(2, ""),
        f"error: {tmp_path}: no manifest.json, so there is no finished shard set here; check the "
        "URL, or build it with `python -m retdm.shard build SPEC --source DIR --out "
        f"{tmp_path}`\n",
    )


def test_a_damaged_manifest_is_one_fault_and_status_1(cli, shards):
    (shards / "manifest.json").write_bytes(b"{")
    status, out, _ = cli("verify", shards)
    assert status == 1
    fault, last = out.splitlines()
    assert fault.startswith("manifest.json: not JSON (")
    assert last == f"{shards}: 1 fault"


@pytest.mark.parametrize(
    "arguments, example",
    [
        (["--help"], "python -m retdm.shard build shards/"),
        (["build", "--help"], "--set resize.short_side=256"),
    ],
)
def test_help_has_examples(cli, capsys, arguments, example):
    with pytest.raises(SystemExit):
        cli(*arguments)
    assert example in capsys.readouterr().out
