"""The comparison page: what it says, that it says it in both formats, and needs nothing else."""

import json
import re
from html import unescape

import numpy as np
import pytest

from retdm.evaluation import EndedRun, compare_content, evaluate, fit_thresholds, strict_json
from retdm.report import comparison_html, comparison_markdown
from retdm.report.comparison_tables import p_text
from tests.report.tags import Tags

SHARE = {
    "data_wait": 0.05,
    "compute": 0.6,
    "communication": 0.1,
    "evaluation": 0.2,
    "checkpoint": 0.01,
    "other": 0.04,
}
METHODS = {"bce": "bce", "retdm": "retdm", "raw <a|b>": "retdm", "c2ae": "c2ae"}


def result(skill, seed, data="scene", versions=None):
    rng = np.random.default_rng(seed)
    targets = rng.random((80, 5)) < 0.3
    scores = 1 / (1 + np.exp(-rng.normal(size=(80, 5)) - skill * (2 * targets - 1)))
    return {
        "metrics": {"test": evaluate(scores, targets, fitted=fit_thresholds(scores, targets))},
        "data": data,
        "data_digest": "d" * 64,
        "reading": {"score": "unit_sq_tau"},
        "versions": {"torch": "2.14", **(versions or {})},
        "time": {"share": SHARE, "images_per_s": 30.0 + seed, "images_per_s_per_worker": 15.0},
    }


def content(methods, results, failed=(), **more):
    """`results`: of each column by seed."""
    ended = [
        EndedRun(f"{name}-s{seed}-0", f"{name}, seed {seed}", (name,), seed, "trained", 1, own, "")
        for name, seeds in results.items()
        for seed, own in seeds.items()
    ]
    found = compare_content("t", methods, [0, 1, 2], [*ended, *failed], baseline="bce", **more)
    return json.loads(strict_json(found))


@pytest.fixture(scope="module")
def summary():
    results = {
        name: {seed: result(0.5 + 0.4 * number, seed) for seed in range(3)}
        for number, name in enumerate(METHODS)
    }
    del results["c2ae"][1]
    error = "not <finite>; lower lr"
    failed = EndedRun("c2ae-s1-0", "c2ae, seed 1", ("c2ae",), 1, "failed", 1, None, error)
    return content(METHODS, results, [failed], wanted=12)


@pytest.fixture(scope="module")
def pages(summary):
    return {"md": comparison_markdown(summary), "html": comparison_html(summary)}


def words(pages, kind):
    """What a reader sees of a page."""
    if kind == "html":
        return unescape(re.sub("<[^>]*>", "", pages["html"]))
    return re.sub(r"\\(.)|\*\*", r"\1", pages["md"])


@pytest.mark.parametrize("kind", ["md", "html"])
def test_both_pages_say_where_the_time_went(pages, kind):
    page = words(pages, kind)
    assert "Where the time went" in page
    for text in ("31.0", "15.0", "5.0%", "60.0%", "20.0%", "1.0%"):
        assert text in page, text
    assert "Times are the host's." in page
    assert "compute and communication are right together, but not how they are split" in page


def test_results_of_an_earlier_version_have_no_times():
    old = {seed: result(1.0, seed) for seed in range(2)}
    for one in old.values():
        del one["time"]
    summary = content({"bce": "bce"}, {"bce": old}, wanted=2)
    assert summary["columns"]["bce"]["time"] == {}
    assert "Where the time went" not in comparison_markdown(summary)


@pytest.mark.parametrize("kind", ["md", "html"])
def test_both_pages_say_what_counts(pages, summary, kind):
    page = words(pages, kind)
    figures = summary["columns"]["retdm"]["metrics"]
    difference = f"{figures['mAP']['difference']:+.4f} ("
    for text in (
        f"{figures['mAP']['mean']:.4f} ± {figures['mAP']['sd']:.4f}",
        difference,
        "INCOMPLETE",
        "c2ae, seed 1",
        "Difference to bce",
        f"{figures['toolbox.OP']['mean']:.4f} / 0.892",
        "c2ae: no target (C2AE): neither loss column",
        "corrected: O-P",
        "score: unit",
        "torch 2.14",
        "dddddddddddd",
        "CF1_mean ↑",
        "fitted.CF1_mean ↑",
        "CF1_mean the mean of the labels' F1",
        "All seeds share one split: spreads and p-values measure the noise of training",
        "on one fixed set of test photos, not that of another sample of photos",
        "Holm: corrected over all columns tested in that metric",
        f"{p_text(figures['mAP']['p'])}; Holm {p_text(figures['mAP']['p_holm'])[2:]})",
        "No column here: CL: usable as targets (labels over the threshold",
        "No column here: LMMO-kNN, MLSPL: no targets (O-F1 does not follow",
    ):
        assert text in page


def test_markdown_tables_are_whole(pages):
    lines = pages["md"].splitlines()
    for number, line in enumerate(lines):
        if line.startswith("| ---"):
            rows = [lines[number - 1], line]
            rows += [row for row in lines[number + 1 : number + 4] if row.startswith("|")]
            assert len({row.replace("\\|", "").count("|") for row in rows}) == 1
    assert "raw \\<a\\|b>" in pages["md"]


def test_html_needs_nothing_else_and_escapes_names(pages):
    page = pages["html"]
    for forbidden in ("http://", "https://", "<script", "src=", "<a|b>", "<finite>"):
        assert forbidden not in page
    assert "raw &lt;a|b&gt;" in page


def test_only_a_supported_best_is_bold(summary):
    unsure = json.loads(json.dumps(summary))
    for best in unsure["best"].values():
        best["supported"] = False
    first, *_ = comparison_markdown(unsure).split("## Difference")
    assert "| **" not in first
    results = {
        name: {seed: result(0.5 + 0.4 * number, seed) for seed in range(3)}
        for number, name in enumerate(METHODS)
    }
    sure = content(METHODS, results, wanted=12)
    assert sure["best"]["mAP"]["supported"]
    assert not summary["best"]["mAP"]["supported"]  # by two seeds
    row = next(x for x in comparison_markdown(sure).splitlines() if x.startswith("| c2ae |"))
    assert "**" in row


@pytest.mark.parametrize("kind", ["md", "html"])
def test_a_note_on_a_row_that_two_columns_share_stands_once(pages, kind):
    page = words(pages, kind)
    assert page.count("retdm / RETDM") == page.count("raw <a|b> / RETDM") == 1
    assert page.count("BCE, RETDM: labels over the threshold; C-F1 of the mean") == 1
    assert page.count("BCE, corrected: O-P") == 1


def test_a_difference_is_bold_only_if_it_stands_the_correction():
    values = {
        "bce": [0.50, 0.60, 0.70],
        "a": [0.52, 0.626, 0.732],  # p .020 alone
        "b": [0.51, 0.58, 0.72],
        "c": [0.52, 0.59, 0.71],
    }
    seeds = {name: {s: result(1.0, s) for s in range(3)} for name in values}
    for name, own in values.items():
        for seed, value in enumerate(own):
            seeds[name][seed]["metrics"] = {"test": {"mAP": value}}

    def row(names):
        found = content(dict.fromkeys(names, "asl"), {n: seeds[n] for n in names}, wanted=9)
        figures = found["columns"]["a"]["metrics"]["mAP"]
        _, differences = comparison_markdown(found).split("## Difference")
        return figures, next(x for x in differences.splitlines() if x.startswith("| a |"))

    alone, text = row(["bce", "a"])
    assert alone["p"] == alone["p_holm"] < 0.05
    assert text == f"| a | **+0.0260** ({p_text(alone['p'])}; Holm {p_text(alone['p'])[2:]}) |"
    among, text = row(list(values))
    assert among["p"] == alone["p"]
    assert among["p_holm"] == pytest.approx(3 * among["p"])
    assert among["p_holm"] > 0.05
    assert "**" not in text


@pytest.mark.parametrize("page", [comparison_markdown, comparison_html])
def test_runs_of_different_versions_are_told_with_their_columns(page):
    old, new = {"code": "a" * 64}, {"code": "b" * 64, "timm": "1.0"}
    columns = {"bce": old, "asl": old, "retdm": new}
    results = {name: {0: result(1.0, 0, versions=v)} for name, v in columns.items()}
    found = content({name: name for name in columns}, results, wanted=3)
    assert (
        "runs of this comparison were made by different versions: "
        "code aaaaaaaaaaaa, timm not recorded (bce, asl); code bbbbbbbbbbbb, timm 1.0 (retdm)."
    ) in page(found)
    same = {name: {0: result(1.0, 0, versions=old)} for name in columns}
    agreed = page(content({name: name for name in columns}, same, wanted=3))
    assert "different versions" not in agreed
    assert "code aaaaaaaaaaaa" in agreed


def test_a_data_set_without_a_table_has_its_reason_once():
    results = {name: {0: result(1.0, 0, data="mine")} for name in ("bce", "retdm")}
    page = comparison_markdown(content({n: n for n in results}, results, wanted=2))
    said = "- bce, retdm: no target (BCE, RETDM): the paper has no table for mine."
    assert page.count("the paper has no table") == page.count(said) == 1


def test_rows_of_three_labels_and_of_up_to_three_are_told_apart():
    results = {name: {0: result(1.0, 0, data="coco2014")} for name in ("softmax", "cnn-rnn")}
    page = comparison_markdown(content({n: n for n in results}, results, wanted=2))
    assert "- CNN-Softmax: the three best labels of every image" in page
    assert "- CNN-RNN: one to three labels an image, as paths of free length" in page
    own = results["cnn-rnn"][0]["metrics"]["test"]["top3_thresholded.OF1"]
    assert f"{own:.4f} / 0.678" in page


def test_html_tables_name_their_rows_and_columns_and_scroll_by_keys(pages):
    tags = Tags(pages["html"])
    count = len(tags.of("table"))
    assert count == len(tags.of("caption")) == len(tags.of("thead")) == len(tags.of("tbody")) == 7
    assert len(tags.of("th")) == len(tags.of("th", scope="col")) + len(tags.of("th", scope="row"))
    bodies = len(tags.of("tr")) - count
    assert len(tags.of("th", scope="row")) == bodies
    regions = tags.of("div", role="region", tabindex="0")
    assert len({region["aria-label"] for region in regions}) == count
    assert len(tags.of("main")) == 1


def test_html_plots_fit_narrow_screens_and_say_what_they_show(pages, summary):
    assert "minmax(min(430px, 100%), 1fr)" in pages["html"]
    tags = Tags(pages["html"])
    plots = tags.of("svg", role="img")
    described = [plot["aria-describedby"] for plot in plots]
    assert sorted(described) == sorted({desc["id"] for desc in tags.of("desc")})
    assert plots[0]["aria-label"] == "mAP of each seed of bce, retdm, raw <a|b>, c2ae"
    figures = summary["columns"]["bce"]["metrics"]["OF1"]
    low, high = min(figures["values"].values()), max(figures["values"].values())
    said = f"bce (baseline): mean {figures['mean']:.4f} of 3 from {low:.4f} to {high:.4f}"
    assert said in pages["html"]


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0004, "p < .001"), (0.05, "p .050"), (1.0, "p 1.0"), (None, "p -"), (0.9996, "p 1.0")],
)
def test_p_values_are_short_and_honest(p, text):
    assert p_text(p) == text
