"""`python -m retdm.report`: pages of tiny runs, finished and not."""

import json
import os
import re
import shutil
import subprocess
from html import unescape
from pathlib import Path

import numpy as np
import pytest

from retdm import console
from retdm.data.manifest import load_manifest
from retdm.data.split import open_split
from retdm.evaluation import evaluate, strict_json
from retdm.report import __main__ as program
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.report.tags import Tags
from tests.report.test_search_html import figures
from tests.train.conftest import settings, shards  # noqa: F401


def report(*arguments):
    return console.run(lambda: program.main([str(word) for word in arguments]))


def begin(url, folder, *overrides):
    """What a launcher writes before the first step, and the run's settings and store."""
    config, store = settings(url, *overrides), open_store(str(folder))
    manifest = load_manifest(open_store(url))
    record = {
        "config": config.model_dump(mode="json"),
        "labels": list(manifest.labels),
        "data_digest": manifest.digest,
        "reading": {"score": "unit_sq_tau"},
    }
    store.write("run.json", strict_json(record))
    return config, store


@pytest.fixture(scope="module")
def runs(shards, tmp_path_factory):  # noqa: F811
    """Folder of the finished runs "retdm" and "bce", and of "begun", stopped behind stage 1."""
    folder = tmp_path_factory.mktemp("runs")
    for name, *overrides in (("retdm", "run.log_every_steps=1"), ("bce", "method=bce")):
        config, store = begin(shards, folder / name, *overrides)
        conclude(train(config, LocalSession(), store))
    shutil.copytree(folder / "retdm", folder / "begun")
    (folder / "begun/result.json").unlink()
    return folder


@pytest.fixture(scope="module")
def both(runs, tmp_path_factory):
    """The page of both finished runs, and the files of their scores."""
    folder = tmp_path_factory.mktemp("page")
    out, files = folder / "deep/page.html", (folder / "a.npz", folder / "b.npz")
    saved = [word for file in files for word in ("--save-scores", file)]
    assert report(runs / "retdm", runs / "bce", "--out", out, *saved) == 0
    return out.read_text(), files


def text_of(page):
    return " ".join(unescape(re.sub("<[^>]*>", " ", page.split("<script>")[0])).split())


def table(page, title):
    """Rows of the table with that caption, as lists of texts."""
    content = re.search(f"<caption>{re.escape(title)}</caption>(.*?)</table>", page, re.S)[1]
    rows = re.findall("<tr>(.*?)</tr>", content, re.S)
    return [re.findall("<t[hd][^>]*>(.*?)</t[hd]>", row, re.S) for row in rows]


def test_the_page_is_whole_and_small_and_loads_nothing(both):
    page, _ = both
    assert "content=\"default-src 'none'" in page
    assert not re.search(r"<(script|link|iframe)[^>]*\b(src|href)=", page)
    assert set(re.findall(r'<img src="([^,"]*)', page)) == {"data:image/jpeg;base64"}
    assert page.count("plotly.js v") == 1
    assert len(page.encode()) < 8e6
    titles = re.findall("<h2>(.*?)</h2>", page)
    wanted = ["Results", "Training", "Labels", "Embedding space", "Photos", "Time", "Settings"]
    assert titles == wanted


def test_metrics_are_those_of_the_results_under_their_names(both, runs):
    page, _ = both
    results = [json.loads((runs / name / "result.json").read_text()) for name in ("retdm", "bce")]
    head, *rows = table(page, "Standard definitions")
    assert head == ["metric", "better", "retdm", "bce"]
    for metric, better, *values in rows:
        known = [result["metrics"]["test"][metric] for result in results]
        assert values == [f"{value:.4f}" for value in known]
        assert better == ("lower" if metric.endswith(("_loss", "coverage", "error")) else "higher")
    assert "the paper has no table for synthetic" in text_of(page)
    assert "CAUTION" not in text_of(page)
    baseline = results[0]["baseline"]["label_frequency_mAP"]
    assert f"a mAP of {baseline:.4f} on split test." in text_of(page)
    assert "unit_sq_tau" in page


def test_published_values_stand_beside_the_full_data_set_alone(runs, tmp_path):
    shutil.copytree(runs / "bce", tmp_path / "bce")
    result = json.loads((runs / "bce/result.json").read_text())
    (tmp_path / "bce/result.json").write_text(json.dumps(result | {"data": "scene"}))
    assert report(tmp_path / "bce", "--out", tmp_path / "page.html", "--quick") == 0
    page = (tmp_path / "page.html").read_text()
    head, *rows = table(page, "Standard definitions")
    assert head == ["metric", "better", "bce", "BCE (paper)", "RETDM (paper)", "in the paper"]
    (hamming,) = [row for row in rows if row[0] == "hamming_loss"]
    assert hamming[3:] == ["0.0580", "0.0580", "printed as &quot;ranking loss&quot;"]
    assert "LMMO-kNN, MLSPL: no targets (O-F1 does not follow" in text_of(page)


def test_the_course_is_that_of_the_log_and_the_history(both, runs):
    page, _ = both
    figure, words = figures(page)["Loss parts and learning rate of retdm"]
    lines = [json.loads(line) for line in (runs / "retdm/log.jsonl").read_text().splitlines()]
    steps = [line for line in lines if line["kind"] == "step"]
    traces = {trace["name"]: trace for trace in figure["data"]}
    assert traces.keys() >= {"bce", "metric", "reconstruction", "total", "learning rate"}
    for name in ("total", "metric", "violations"):
        known = [(line["step"], line[name]) for line in steps if name in line]
        assert list(zip(traces[name]["x"], traces[name]["y"], strict=True)) == known
    epochs = [line for line in lines if line["kind"] == "epoch"]
    assert traces["learning rate"]["y"] == [e["lr"] for e in epochs for _ in range(2)]
    assert traces["learning rate"]["x"][1::2] == [e["step"] for e in epochs]
    assert "total is what is minimised" in words
    overlay, words = figures(page)["Validation mAP of all runs"]
    history = json.loads((runs / "retdm/result.json").read_text())["history"]
    assert overlay["data"][0]["y"] == [entry["val/mAP"] for entry in history]
    assert f"retdm ends at {history[-1]['val/mAP']:.4f}" in words
    assert figures(page)["Loss and validation by epoch, bce"][0]


def test_every_figure_has_a_sentence_and_is_drawn(both):
    page, _ = both
    found = figures(page)
    assert len(found) == len(re.findall("<figure>", page))
    for title, (figure, words) in found.items():
        assert figure, title
        assert len(words) > 40, title
    assert {title for title in found if "Labels that come together" in title} == {
        f"Labels that come together, true and predicted by {name}" for name in ("retdm", "bce")
    }


def test_the_map_says_its_variance_and_only_retdm_has_distances(both, shards):  # noqa: F811
    page, _ = both
    found = figures(page)
    figure, words = found["Map of images and label sets of retdm"]
    images = sum(len(trace["text"]) for trace in figure["data"] if trace["name"] != "label sets")
    assert images == len(open_split(shards, "test"))
    assert re.search(r"which hold [\d.]+% of their variance", words)
    assert "Own and neighbouring distances of retdm" in found
    assert "Own and neighbouring distances of bce" not in found
    assert "Map of images of bce" in found
    assert "bce: bce embeds no label sets, so there is no distance to them." in page
    assert "Nearest neighbours of label sets of retdm" in page


def test_photos_are_small_copies_with_their_labels_in_words(both, shards):  # noqa: F811
    page, _ = both
    images = Tags(page).of("img")
    assert len(images) == 16
    keys = set(open_split(shards, "test").table.keys[:])
    assert {re.match("Photo ([^;]*);", image["alt"])[1] for image in images} <= keys
    assert any("true: " in image["alt"] for image in images)
    assert max(len(image["src"]) for image in images) < 40_000


def test_saved_scores_give_the_same_figures_without_the_model(both, runs, tmp_path):
    page, files = both
    given = [word for file in files for word in ("--scores", file)]
    out = tmp_path / "again.html"
    assert report(runs / "retdm", runs / "bce", "--out", out, *given) == 0
    again = out.read_text()
    for title in ("Average precision of each label", "Calibration: scores against what is true"):
        assert figures(again)[title] == figures(page)[title]
    assert len(Tags(again).of("img")) == 16
    assert figures(again)["Embedding space of retdm"] == (
        None,
        "Not drawn: scores from a file come without embeddings.",
    )
    with np.load(files[0]) as arrays:
        metrics = evaluate(arrays["scores"], arrays["targets"])
    result = json.loads((runs / "retdm/result.json").read_text())
    assert metrics["mAP"] == pytest.approx(result["metrics"]["test"]["mAP"], abs=1e-6)


def test_scores_of_other_data_are_told_and_have_no_photos(both, runs, tmp_path):
    with np.load(both[1][0]) as arrays:
        np.savez(tmp_path / "s.npz", scores=arrays["scores"], targets=~arrays["targets"])
    out = tmp_path / "page.html"
    assert report(runs / "retdm", "--out", out, "--scores", tmp_path / "s.npz") == 0
    said = text_of(out.read_text())
    assert re.search(r"CAUTION: retdm has an mAP of [\d.]+ on split test in its result, ", said)
    assert "No photos of retdm: the scores are not of split 'test' of " in said
    assert "<img" not in out.read_text()


def test_quick_evaluates_nothing_and_no_photos_leaves_out_their_keys(
    runs,
    shards,  # noqa: F811
    tmp_path,
    monkeypatch,
):
    def refused(*_, **__):
        pytest.fail("a model was evaluated")

    out = tmp_path / "page.html"
    assert report(runs / "bce", "--out", out, "--no-photos") == 0
    assert "Left out by --no-photos" in out.read_text()
    assert "<img" not in out.read_text()
    keys = open_split(shards, "test").table.keys[:]
    assert not [key for key in keys if key in out.read_text().split("<script>")[0]]
    monkeypatch.setattr("retdm.report.run_scores.evaluate_run", refused)
    assert report(runs / "bce", "--out", out, "--quick") == 0
    assert text_of(out.read_text()).count("made with --quick") == 3
    assert "Loss parts and learning rate of bce" in figures(out.read_text())


def test_a_run_that_is_not_finished_has_what_there_is(runs, shards, tmp_path):  # noqa: F811
    out = tmp_path / "page.html"
    assert report(runs / "begun", "--out", out, "--quick") == 0
    page = out.read_text()
    assert "not finished, behind epoch 1 of stage 3." in text_of(page)
    head, *_ = table(page, "Standard definitions")
    assert head[2] == "begun (val, stage 3 epoch 1)"
    assert report(runs / "begun", "--out", out, "--split", "val") == 0
    assert table(out.read_text(), "Standard definitions")[0][2] == "begun (val, computed here)"
    begin(shards, tmp_path / "new")
    assert report(tmp_path / "new", "--out", out, "--quick") == 0
    assert "no finished epoch yet" in text_of(out.read_text())
    assert figures(out.read_text())["Loss parts and learning rate of new"][0] is None


@pytest.mark.parametrize("method", ["c2ae", "cnn-rnn", "lmmo-knn"])
def test_methods_without_steps_or_label_sets_have_their_page(shards, tmp_path, method):  # noqa: F811
    config, store = begin(shards, tmp_path / "run", f"method={method}")
    conclude(train(config, LocalSession(), store))
    out = tmp_path / "page.html"
    assert report(tmp_path / "run", "--out", out) == 0
    found = figures(out.read_text())
    assert ("Own and neighbouring distances of run" in found) == (method == "c2ae")
    _, words = found["Loss parts and learning rate of run"]
    fitted = words == "Not drawn: the run's log has no step."
    assert fitted == (method == "lmmo-knn")
    assert found["Calibration: scores against what is true"][0]


def test_only_settings_that_differ_are_listed(both):
    page, _ = both
    head, *rows = table(page, "Settings that differ")
    assert head == ["setting", "retdm", "bce"]
    assert {row[0]: row[1:] for row in rows} == {
        "method": ["retdm", "bce"],
        "run.log_every_steps": ["1", "10"],
    }


def scaled(runs, folder, name, workers, speed, **more):
    """A copy of the finished run "bce" that had so many workers of such a speed."""
    shutil.copytree(runs / "bce", folder / name)
    result = json.loads((runs / "bce/result.json").read_text())
    time = result["time"] | {"images_per_s_per_worker": speed, "efficiency_at_most": 0.9}
    changed = {**result, "world_size": workers, "time": time, **more}
    (folder / name / "result.json").write_text(json.dumps(changed))
    return folder / name


def test_scaling_efficiency_is_against_the_run_with_the_fewest_workers(runs, tmp_path):
    config = json.loads((runs / "bce/result.json").read_text())["config"]
    other = {"config": config | {"data": {**config["data"], "batch_size": 8}}}
    urls = [
        scaled(runs, tmp_path, "four", 4, 15.0, config=config | {"seed": 7}),
        scaled(runs, tmp_path, "two", 2, 20.0),
        scaled(runs, tmp_path, "odd", 1, 99.0, **other),
    ]
    out = tmp_path / "page.html"
    assert report(*urls, "--out", out, "--quick") == 0
    _, *rows = table(out.read_text(), "Scaling efficiency")
    assert rows == [
        ["two", "2", "20.0", "1 (by definition)", "0.900"],
        ["four", "4", "15.0", "0.750", "0.900"],
    ]
    said = text_of(out.read_text())
    assert "the run with the fewest workers: two (2)" in said
    assert "only if all machines are alike" in said
    assert report(urls[0], "--out", out, "--quick") == 0
    assert "four: communication took 10.0% of the time of its steps" in text_of(out.read_text())


@pytest.mark.parametrize(
    "words, message",
    [
        (["none"], "none: neither result.json nor run.json is there, so it is no run; give the"),
        (["search"], "search: this is a search, whose page is tune.html in it"),
        (["retdm", "retdm"], "retdm is given twice; give each run once"),
        (["retdm", "--split", "tset"], "tset"),
        (
            ["retdm", "bce", "--scores", "a.npz"],
            "--scores is given 1 time for 2 runs; give it once",
        ),
        (["retdm", "--quick", "--scores", "a.npz"], "--scores has no effect with --quick"),
        (["retdm", "--scores", "a.npz"], "a.npz: no such file"),
    ],
)
def test_what_is_wrong_is_said_in_a_line_and_no_page_is_written(
    runs, tmp_path, monkeypatch, capsys, words, message
):
    (runs / "search").mkdir(exist_ok=True)
    (runs / "search/tune.json").write_text("{}")
    monkeypatch.chdir(runs)
    assert report(*words, "--out", tmp_path / "page.html") == 2
    error = capsys.readouterr().err
    assert message in error
    assert "Traceback" not in error
    assert not (tmp_path / "page.html").exists()


@pytest.mark.parametrize(
    "file, content, message",
    [
        ("result.json", b"{", "result.json: not JSON"),
        ("result.json", b'{"method": 1}', "result.json: not the result of a run"),
        ("run.json", b'{"config": {}}', "run.json: not the record of a run"),
        ("checkpoints.json", b'{"history": [{}]}', "checkpoints.json: not an index"),
        (
            "checkpoints.json",
            b'{"history": [{"stage": "1", "epoch": 1, "step": 1, "rank_score": null}]}',
            "history.0.rank_score: Input should be a valid number",
        ),
    ],
)
def test_a_damaged_file_is_named(runs, tmp_path, capsys, file, content, message):
    shutil.copytree(runs / ("bce" if file == "result.json" else "begun"), tmp_path / "run")
    (tmp_path / "run" / file).write_bytes(content)
    assert report(tmp_path / "run", "--out", tmp_path / "page.html", "--quick") == 2
    assert message in capsys.readouterr().err


def test_damaged_lines_of_a_log_are_counted_and_left_out(runs, tmp_path):
    shutil.copytree(runs / "bce", tmp_path / "bce")
    with (tmp_path / "bce/log.jsonl").open("ab") as log:
        log.write(b'{"kind": "st')
    out = tmp_path / "page.html"
    assert report(tmp_path / "bce", "--out", out, "--quick") == 0
    assert "bce: 1 line of its log could not be read" in text_of(out.read_text())


EVIL = "</script><img src=x onerror=alert(1)>"


def test_names_of_strangers_are_escaped(runs, tmp_path):
    shutil.copytree(runs / "bce", tmp_path / "bce")
    result = json.loads((runs / "bce/result.json").read_text())
    changed = {**result, "data": EVIL, "reading": {EVIL: EVIL}, "versions": {EVIL: EVIL}}
    changed["history"] = [entry | {"stage": EVIL} for entry in result["history"]]
    (tmp_path / "bce/result.json").write_text(json.dumps(changed))
    out = tmp_path / "page.html"
    assert report(tmp_path / "bce", "--out", out, "--quick") == 0
    assert EVIL not in out.read_text()
    assert "<img" not in out.read_text()


WATCHED = """<script>addEventListener("load", async () => {
  const needed = document.documentElement.scrollWidth;
  const drawn = document.querySelectorAll(".plot.js-plotly-plot").length;
  const faults = window.axe ? (await axe.run()).violations.map(one => one.id) : [];
  parent.postMessage({ width: document.documentElement.clientWidth, needed, drawn, faults }, "*");
});</script>"""
FRAMES = """<html><script>addEventListener("message", ({ data }) => {
  document.documentElement.dataset["at" + data.width] = JSON.stringify(data);
});</script>
<iframe src="page.html" width="390" height="900" style="border: 0"></iframe>
<iframe src="page.html" width="1200" height="900" style="border: 0"></iframe></html>"""


@pytest.mark.slow
def test_a_browser_draws_every_figure_without_a_complaint_on_a_phone_too(both, tmp_path):
    """With RETDM_AXE, the path of axe.min.js (npm's axe-core), its checks run as well."""
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium, to draw the page")
    page = both[0].replace("</body>", f"{WATCHED}</body>")
    if axe := os.environ.get("RETDM_AXE"):
        page = page.replace("<body>", f"<body><script>{Path(axe).read_text()}</script>")
    (tmp_path / "page.html").write_text(page)
    (tmp_path / "frames.html").write_text(FRAMES)
    done = subprocess.run(
        [
            *(browser, "--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *("--enable-logging=stderr", "--virtual-time-budget=30000", "--dump-dom"),
            *("--window-size=1700,1000", f"--user-data-dir={tmp_path / 'profile'}"),
            (tmp_path / "frames.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    (seen,) = Tags(done.stdout).of("html")
    for width in (390, 1200):
        wanted = {"width": width, "needed": width, "drawn": len(figures(both[0])), "faults": []}
        assert json.loads(seen[f"data-at{width}"]) == wanted
