"""The comparison page: what it says, that it says it in both formats, and needs nothing else."""

import json
import xml.etree.ElementTree as ElementTree

import numpy as np
import pytest

from retdm.evaluation import evaluate, fit_thresholds, strict_json, summarize
from retdm.report import comparison_html, comparison_markdown
from retdm.report.comparison_tables import p_text
from retdm.report.dot_plot import Dots, axis, dot_plot

METHODS = {"bce": "bce", "retdm": "retdm", "raw <a|b>": "retdm", "c2ae": "c2ae"}


def result(skill, seed):
    rng = np.random.default_rng(seed)
    targets = rng.random((80, 5)) < 0.3
    scores = 1 / (1 + np.exp(-rng.normal(size=(80, 5)) - skill * (2 * targets - 1)))
    return {
        "metrics": {"test": evaluate(scores, targets, fitted=fit_thresholds(scores, targets))},
        "data": "scene",
        "data_digest": "d" * 64,
        "reading": {"score": "unit_sq_tau"},
        "versions": {"torch": "2.14"},
    }


@pytest.fixture(scope="module")
def summary():
    results = {
        name: {seed: result(0.5 + 0.4 * number, seed) for seed in range(3)}
        for number, name in enumerate(METHODS)
    }
    del results["c2ae"][1]
    failures = [{"cell": "c2ae-s1-0", "title": "c2ae, seed 1", "error": "not <finite>; lower lr"}]
    found = summarize(METHODS, results, baseline="bce")
    whole = {"run": "t", "complete": False, "seeds": [0, 1, 2], "failures": failures, **found}
    return json.loads(strict_json(whole))


@pytest.fixture(scope="module")
def pages(summary):
    return {"md": comparison_markdown(summary), "html": comparison_html(summary)}


@pytest.mark.parametrize("kind", ["md", "html"])
def test_both_pages_say_what_counts(pages, summary, kind):
    page = pages[kind]
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
    best = summary["best"]["mAP"]
    assert best["supported"]
    row = next(x for x in comparison_markdown(summary).splitlines() if x.startswith("| c2ae |"))
    assert "**" in row


def test_every_seed_is_a_dot():
    lines = [Dots("bce", {"0": 0.9, "1": 0.91}, published=0.905)]
    lines += [Dots("none", {}, published=0.2)]
    svg = ElementTree.fromstring(dot_plot("mAP", lines, baseline="bce"))
    kinds = [element.get("class") for element in svg.iter()]
    assert (kinds.count("dot"), kinds.count("mean")) == (2, 1)
    assert (kinds.count("paper"), kinds.count("baseline")) == (1, 1)


@pytest.mark.parametrize(
    "ends", [(0.91, 0.93), (0.5, 0.5), (0, 0), (-3, 20), (0.91234, 0.91235), (0, 1e-9)]
)
def test_axes_have_a_few_round_ticks_around_the_values(ends):
    low, high, ticks = axis(*ends)
    assert low < ends[0] <= ends[1] < high
    assert 1 <= len(ticks) <= 7
    assert all(low <= tick <= high for tick, _ in ticks)
    assert len({text for _, text in ticks}) == len(ticks)


@pytest.mark.parametrize(
    ("p", "text"),
    [(0.0004, "p < .001"), (0.05, "p .050"), (1.0, "p 1.0"), (None, "p -"), (0.9996, "p 1.0")],
)
def test_p_values_are_short_and_honest(p, text):
    assert p_text(p) == text
