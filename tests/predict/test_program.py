"""`python -m retdm.predict`: one exact row for each image, whole files or none."""

import csv
import errno
import json
import logging
import os
import re
import shutil
import subprocess
import sys

import numpy as np
import pyarrow.parquet as pq
import pytest

import retdm
from retdm import console
from retdm.claims import hold
from retdm.data.bad import BadSamples
from retdm.data.split import open_split
from retdm.evaluate import main as evaluate_main
from retdm.evaluation import evaluate
from retdm.predict.__main__ import main
from retdm.predict.formats import JsonLines
from retdm.predict.parts import WORK
from retdm.storage import join_url, open_store
from retdm.train.scoring import score_split


def run(*arguments):
    return console.run(lambda: main([str(a) for a in arguments]))


def lines(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def url(trained):
    return trained.run("retdm")


@pytest.fixture(scope="module")
def photos(trained, tmp_path_factory):
    return trained.photos(tmp_path_factory.mktemp("photos"))


@pytest.fixture(scope="module")
def evaluated(url, trained):
    """Scores of the test split by the functions of evaluation."""
    model = retdm.load(url)
    data = open_split(trained.shards, "test")
    settings = model.config.data
    return score_split(model.method, data, settings, model.device, bad=BadSamples(0))[0]


@pytest.mark.parametrize("method", ["retdm", "lmmo-knn"])
def test_scores_of_a_split_are_those_of_evaluate(trained, tmp_path, method):
    url, out = trained.run(method), tmp_path / "scores.jsonl"
    assert run(url, "--split", "test", "--json", out) == 0
    rows = lines(out)
    data = open_split(trained.shards, "test")
    assert [row["image"] for row in rows] == list(data.table.keys)
    names = data.label_space.names
    scores = np.array([[row["scores"][name] for name in names] for row in rows], np.float32)
    model = retdm.load(url)
    metrics = evaluate(scores, data.table.targets, fitted=model.fitted)
    assert evaluate_main([url, "--json", str(tmp_path / "m.json")]) == 0
    assert json.loads((tmp_path / "m.json").read_text())["metrics"] == metrics


@pytest.mark.slow
def test_processes_that_decode_change_nothing(url, evaluated, tmp_path):
    given = ["--split", "test", "--workers", 1, "--json", tmp_path / "o"]
    assert run(url, *given) == 0
    labels = retdm.load(url).labels
    found = [[row["scores"][name] for name in labels] for row in lines(tmp_path / "o")]
    np.testing.assert_array_equal(np.array(found, np.float32), evaluated)


def test_photos_of_a_folder_score_as_evaluated_in_every_format(url, photos, evaluated, tmp_path):
    out = {kind: tmp_path / f"out.{kind}" for kind in ("json", "csv", "parquet")}
    options = [part for kind, path in out.items() for part in (f"--{kind}", path)]
    assert run(url, photos[0].parent, *options) == 0
    labels = retdm.load(url).labels
    order = np.argsort([path.name for path in photos])
    expected = evaluated[order]
    rows = lines(out["json"])
    assert [row["image"] for row in rows] == [str(photos[at]) for at in order]
    found = np.array([[row["scores"][name] for name in labels] for row in rows], np.float32)
    # The order is another one than in evaluation, so other photos share a batch.
    np.testing.assert_allclose(found, expected, rtol=1e-5, atol=1e-6)
    with out["csv"].open() as file:
        table = list(csv.DictReader(file))
    in_csv = np.array([[row[f"score.{name}"] for name in labels] for row in table], np.float32)
    np.testing.assert_array_equal(in_csv, found)
    parquet = pq.read_table(out["parquet"])
    in_parquet = np.stack([parquet[f"score.{name}"].to_numpy() for name in labels], axis=1)
    np.testing.assert_array_equal(in_parquet, found)
    assert parquet["labels"].to_pylist() == [row["labels"] for row in rows]
    assert [row["labels"] for row in table] == [";".join(row["labels"]) for row in rows]
    assert parquet["image"].to_pylist() == [row["image"] for row in table]


def test_photos_given_in_the_order_of_the_split_score_exactly_as_evaluated(
    url, photos, evaluated, tmp_path
):
    out = tmp_path / "o.jsonl"
    assert run(url, *photos, "--json", out) == 0
    labels = retdm.load(url).labels
    found = [[row["scores"][name] for name in labels] for row in lines(out)]
    np.testing.assert_array_equal(np.array(found, np.float32), evaluated)


def test_an_image_named_twice_has_one_row(url, photos, tmp_path):
    out = tmp_path / "o.jsonl"
    assert run(url, photos[1], photos[0].parent, photos[1], "--json", out) == 0
    images = [row["image"] for row in lines(out)]
    assert images[0] == str(photos[1])
    assert sorted(images) == sorted(str(path) for path in photos)


def test_folders_are_searched_below_and_other_files_left_alone(url, photos, tmp_path):
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/x.JPG").write_bytes(photos[0].read_bytes())
    (tmp_path / "a/notes.txt").write_text("no image")
    assert run(url, tmp_path / "a", "--json", tmp_path / "o") == 0
    assert [row["image"] for row in lines(tmp_path / "o")] == [str(tmp_path / "a/b/x.JPG")]


def test_images_may_be_named_by_the_lines_of_a_text_file(url, photos, tmp_path):
    named = tmp_path / "names.txt"
    named.write_text(f"{photos[2]}\n{photos[0]}\n")
    assert run(url, f"@{named}", photos[1], "--json", tmp_path / "o") == 0
    found = [row["image"] for row in lines(tmp_path / "o")]
    assert found == [str(photos[at]) for at in (2, 0, 1)]


def test_without_a_file_a_table_is_printed(url, photos, capsys):
    assert run(url, photos[0], "--top", 2) == 0
    out = capsys.readouterr().out
    (labels,) = retdm.load(url).predict(photos[0], top=2)
    first, second = (f"{label} " for label in labels)
    assert out.startswith(f"{photos[0]}"[:60])
    assert out.index(first) < out.index(second)


def test_options_may_stand_between_images(url, photos, tmp_path):
    out = tmp_path / "o.jsonl"
    assert run(url, photos[0], "--threshold", "0", photos[1], "--json", out) == 0
    assert [len(row["labels"]) for row in lines(out)] == [len(retdm.load(url).labels)] * 2


@pytest.mark.parametrize("which, labels", [("fitted", None), ("fixed", 0.5), ("0.25", 0.25)])
def test_the_threshold_decides_the_labels_alone(url, photos, tmp_path, which, labels):
    out = tmp_path / "o.jsonl"
    assert run(url, *photos, "--threshold", which, "--json", out) == 0
    model = retdm.load(url)
    limits = dict(
        zip(
            model.labels,
            model.fitted if labels is None else [labels] * len(model.labels),
            strict=True,
        )
    )
    for row in lines(out):
        over = {name for name, score in row["scores"].items() if score >= limits[name]}
        assert set(row["labels"]) == over


@pytest.fixture
def spoiled(photos, tmp_path):
    """A folder with one photo and one file that is none."""
    folder = tmp_path / "spoiled"
    folder.mkdir()
    (folder / "a.jpg").write_bytes(photos[0].read_bytes()[:200])
    (folder / "b.jpg").write_bytes(photos[0].read_bytes())
    return folder


def test_a_bad_image_ends_the_program_and_leaves_no_file(url, spoiled, tmp_path, capsys):
    assert run(url, spoiled, "--json", tmp_path / "o.jsonl") == 2
    (line,) = [x for x in capsys.readouterr().err.splitlines() if x.startswith("error:")]
    assert line.startswith(f"error: {spoiled}/a.jpg: cannot be decoded (")
    assert line.endswith(
        "; replace the photo or leave it out; or have it listed without scores by --bad skip"
    )
    assert os.listdir(tmp_path) == ["spoiled"]


def test_a_bad_image_that_is_skipped_has_a_row_with_the_reason(url, spoiled, tmp_path, caplog):
    out = [tmp_path / name for name in ("o.jsonl", "o.csv", "o.parquet")]
    given = ["--json", out[0], "--csv", out[1], "--parquet", out[2], "--bad", "skip"]
    with caplog.at_level(logging.INFO, logger="retdm"):
        assert run(url, spoiled, *given) == 0
    bad, good = lines(out[0])
    assert bad["error"].startswith(f"{spoiled}/a.jpg: cannot be decoded (")
    assert (bad["labels"], bad["scores"]) == (None, None)
    assert good["error"] is None
    assert bad["error"] in caplog.messages
    assert any(text.startswith("2 images, 1 of them bad, ") for text in caplog.messages)
    assert out[1].read_text().splitlines()[1].startswith(f"{spoiled}/a.jpg,,")
    first = pq.read_table(out[2]).to_pylist()[0]
    assert first["error"] == bad["error"]
    assert {first[name] for name in first if name not in ("image", "error")} == {None}


def test_a_bad_sample_of_a_shard_set_is_told_in_the_same_way(url, trained, tmp_path, capsys):
    shards = tmp_path / "shards"
    shutil.copytree(trained.shards, shards)
    data = open_split(str(shards), "test")
    with (shards / data.info.shards[0].name).open("r+b") as tar:
        tar.seek(int(data.table.offsets[1]) + 40)
        tar.write(bytes(20))
    assert run(url, shards, "--split", "test", "--json", tmp_path / "o") == 2
    assert f"sample {data.table.keys[1]!r}: sha256 of the image is" in capsys.readouterr().err
    assert not (tmp_path / "o").exists()
    assert run(url, shards, "--split", "test", "--json", tmp_path / "o", "--bad", "skip") == 0
    rows = lines(tmp_path / "o")
    assert [row["image"] for row in rows] == list(data.table.keys)
    assert [at for at, row in enumerate(rows) if row["error"]] == [1]


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["nowhere.jpg"], "nowhere.jpg: no such file or folder; check the path"),
        (["@nowhere.txt"], "@nowhere.txt: cannot read the file of names (No such file or dir"),
        (["@{empty}"], "@{empty}: cannot read the file of names (Is a directory); check the pa"),
        (["{empty}"], "no image here (no name ends with .jpg, .jpeg,"),
        (["{shards}"], "this is a shard set; add --split NAME to predict one of its splits"),
        (["{photo}", "--json", "{empty}"], "--json {empty} is a folder; give a file in it"),
        (["{photo}", "--json", "{empty}/"], "names a folder, not a file; add a file name"),
        (["{photo}", "--json", "o", "--csv", "o"], "--json and --csv are one file, o; name two"),
        (["{photo}", "--threshold", "2"], 'threshold is \'2\'; give "fixed", "fitted" or a num'),
        (["--split", "none"], "no split 'none'; this shard set has: test, train, val; choose"),
        (["{empty}", "--split", "test"], "so there is no finished shard set here; check the URL"),
    ],
)
def test_wrong_input_is_one_line_and_status_2(
    url, trained, photos, tmp_path, capsys, arguments, message, monkeypatch
):
    monkeypatch.chdir(tmp_path)
    empty = tmp_path / "empty"
    empty.mkdir()
    words = {"empty": empty, "shards": trained.shards, "photo": photos[0]}
    assert run(url, *(a.format(**words) for a in arguments)) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert message.format(**words) in line
    assert os.listdir(tmp_path) == ["empty"]


def test_parts_are_refused_where_another_program_writes_or_a_file_is(
    url, photos, tmp_path, capsys
):
    given = [url, photos[0], "--ray", "--parquet"]
    with hold(open_store(str(tmp_path / "out")), WORK):
        assert run(*given, tmp_path / "out") == 2
    told = capsys.readouterr().err
    assert f"error: {tmp_path}/out: another prediction writes there (process {os.getpid()}" in told
    (tmp_path / "file").write_text("mine")
    assert run(*given, tmp_path / "file") == 2
    assert (
        f"error: --parquet {tmp_path}/file: {tmp_path}/file is a file" in capsys.readouterr().err
    )


@pytest.mark.parametrize(
    "arguments, message",
    [
        ([], "give at least one IMAGE, or --split NAME"),
        (["--split", "test", "a", "b"], "with --split give one shard set, or none"),
        (["a", "--top", "0"], "argument --top: '0' is not a whole number from 1 on"),
        (["a", "--top", "1", "--threshold", "fixed"], "not allowed with argument --top"),
        (["a", "--bad", "maybe"], "invalid choice: 'maybe'"),
        (["a", "--ray"], "with --ray give one of --json, --csv and --parquet, the folder of its"),
        (["a", "--ray", "--json", "o", "--csv", "p"], "with --ray give one of --json, --csv and"),
        (["a", "--json", "o", "--actors", "2"], "--actors and --part-size go with --ray"),
        (["a", "--json", "o", "--part-size", "2"], "--actors and --part-size go with --ray"),
    ],
)
def test_wrong_usage(url, arguments, message, capsys):
    with pytest.raises(SystemExit, match="2"):
        run(url, *arguments)
    assert message in capsys.readouterr().err


def test_a_model_that_is_none_is_said_to_be_none(photos, tmp_path, capsys):
    assert run(tmp_path, photos[0]) == 2
    assert "there is no trained run here" in capsys.readouterr().err


def test_help_has_examples():
    command = [sys.executable, "-m", "retdm.predict"]
    shown = subprocess.run([*command, "--help"], capture_output=True, text=True, check=True)
    assert "examples:\n  python -m retdm.predict s3://bucket/runs/pets-1 photo.jpg" in shown.stdout
    assert "one that is replaced between two runs goes unnoticed" in shown.stdout


def test_a_file_name_that_is_not_utf_8_is_shown_with_its_bytes(url, photos, tmp_path):
    folder = tmp_path / "odd"
    folder.mkdir()
    with open(os.fsencode(folder) + b"/caf\xe9.jpg", "wb") as file:
        file.write(photos[0].read_bytes())
    out = [tmp_path / name for name in ("o.jsonl", "o.csv", "o.parquet")]
    assert run(url, folder, "--json", out[0], "--csv", out[1], "--parquet", out[2]) == 0
    wanted = f"{folder}/caf\\xe9.jpg"
    assert lines(out[0])[0]["image"] == wanted
    assert pq.read_table(out[2])["image"].to_pylist() == [wanted]


def test_objects_prefixes_and_outputs_on_s3(url, photos, tmp_path, s3):
    root = s3.url()
    store = open_store(root)
    for at, path in enumerate(photos[:3]):
        store.write(f"in/{at}.jpg", path)
    out = join_url(root, "out.jsonl")
    given = [join_url(root, "in/2.jpg"), join_url(root, "in")]
    assert run(url, *given, "--json", out) == 0
    rows = [json.loads(line) for line in store.read("out.jsonl").decode().splitlines()]
    assert [row["image"] for row in rows] == [join_url(root, f"in/{at}.jpg") for at in (2, 0, 1)]
    expected = retdm.load(url).scores([photos[2], photos[0], photos[1]])
    assert list(rows[0]["scores"].values()) == expected[0].tolist()


def test_a_full_disk_is_told_and_leaves_no_file(url, photos, tmp_path, monkeypatch, capsys):
    def full(*_):
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(JsonLines, "write", full)
    assert run(url, photos[0], "--json", tmp_path / "o.jsonl") == 2
    told = capsys.readouterr().err.splitlines()[-1]
    assert re.match(
        r"error: rows cannot be written to .* \(No space left on device\); free s", told
    )
    assert list(tmp_path.iterdir()) == []
