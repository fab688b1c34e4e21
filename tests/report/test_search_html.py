"""The page of a search: its figures' data, what it says where there is none, and its text."""

import base64
import json
import re
import shutil
import subprocess
from html import unescape
from itertools import pairwise
from math import exp, log10

import numpy as np
import pytest

from retdm.evaluation import strict_json
from retdm.report.search_html import search_html
from retdm.report.search_text import search_text
from tests.report.tags import Tags

SPACE = {
    "loss.lambda1": {"log": [1e-4, 1]},
    "loss.lambda2": {"log": [1e-4, 1]},
    "loss.k": {"int": [1, 30]},
    "model.dropout": {"float": [0, 0.5]},
    "loss.score": {"choice": ["unit_sq_tau", "inv"]},
}
DEFAULTS = {
    "loss.lambda1": 1.0,
    "loss.lambda2": 0.1,
    "loss.k": 10,
    "model.dropout": 0.2,
    "loss.score": "unit_sq_tau",
}


def summary_of(trials, best, metrics=("mAP",), space=None, defaults=None, **more):
    content = {
        "search": "scene-tune",
        "metrics": list(metrics),
        "sampler": "tpe",
        "pruner": {"kind": "asha", "grace_epochs": 1, "reduction_factor": 3},
        "space": SPACE if space is None else space,
        "seeds": [0],
        "data": "scene",
        "data_digest": "d" * 64,
        "defaults": DEFAULTS if defaults is None else defaults,
        "trials": trials,
        "best": best,
        "shared_stage": {"runs": ["stage1"], "seconds": 60.0, "saved_seconds": 1740.0},
        "seconds": 2000.0,
        "final": None,
    }
    return json.loads(strict_json({**content, **more}))


def trial(number, params, value=None, state="complete", intermediate=(), **more):
    return {
        "number": number,
        "params": params,
        "state": state,
        "values": value if isinstance(value, dict | None) else {"mAP": value},
        "intermediate": [list(entry) for entry in intermediate],
        "seconds": 83.2,
        "why": "trained to the end",
        "runs": [f"trials/{number:04d}"],
        **more,
    }


def drawn_trials(count=30, multi=False):
    """As a search draws them: the recipe first, about a third pruned, one failed, one running."""
    rng = np.random.default_rng(0)
    trials = []
    for number in range(count):
        params = {
            "loss.lambda1": 10 ** rng.uniform(-4, 0),
            "loss.lambda2": 10 ** rng.uniform(-4, 0),
            "loss.k": int(rng.integers(1, 31)),
            "model.dropout": rng.uniform(0, 0.5),
            "loss.score": str(rng.choice(["unit_sq_tau", "inv"])),
        }
        params = dict(DEFAULTS) if number == 0 else params
        top = 0.93 - 0.006 * (log10(params["loss.lambda1"]) + 2) ** 2 + rng.normal(0, 0.003)
        seen = [(epoch, top - 0.15 * exp(-epoch / 1.3)) for epoch in range(1, 7)]
        value = {"mAP": seen[-1][1]}
        if multi:
            value["hamming_loss"] = 0.08 + rng.uniform(0, 0.02)
        new = trial(number, params, value, intermediate=seen)
        if number == count - 1:
            new |= {"state": "running", "values": None, "intermediate": seen[:4], "seconds": None}
        elif number == 17:
            new |= {"state": "failed", "values": None, "intermediate": seen[:2], "why": "lr <0.1>"}
        elif number and top < 0.918 and not multi:
            new |= {"state": "pruned", "values": None, "intermediate": seen[:1], "why": "rung 1"}
        trials.append(new)
    return trials


def best_of(trials):
    complete = [t for t in trials if t["state"] == "complete"]
    return [max(complete, key=lambda t: t["values"]["mAP"])["number"]]


def front_of(trials):
    points = {t["number"]: t["values"] for t in trials if t["state"] == "complete"}
    return [
        number
        for number, own in points.items()
        if not any(
            other["mAP"] >= own["mAP"]
            and other["hamming_loss"] <= own["hamming_loss"]
            and other != own
            for other in points.values()
        )
    ]


def array(value):
    """Plotly's arrays are lists, or bytes with their type and shape."""
    if not isinstance(value, dict):
        return value
    found = np.frombuffer(base64.b64decode(value["bdata"]), dtype=value["dtype"])
    shape = [int(size) for size in value.get("shape", str(found.size)).split(",")]
    return found.reshape(shape).tolist()


def figures(page):
    """Title to the figure's data and layout, or None, and its words."""
    out = {}
    for title, content in re.findall("<figure><h3>(.*?)</h3>(.*?)</figure>", page, re.S):
        data = re.search('<script type="application/json">(.*?)</script>', content, re.S)
        words = unescape(re.search("<p class=note>(.*?)</p>", content, re.S)[1])
        out[unescape(title)] = (json.loads(data[1]) if data else None, words)
    return out


def points(figure, name):
    """Pairs of the trace with that name."""
    (trace,) = [trace for trace in figure["data"] if trace.get("name") == name]
    return list(zip(array(trace["x"]), array(trace["y"]), strict=True))


def in_state(trials, state):
    return [t for t in trials if t["state"] == state]


@pytest.fixture(scope="module")
def single():
    trials = drawn_trials()
    history = [
        {"stage": stage, "epoch": epoch, "train/total": 1 / epoch, "val/mAP": 0.5 + epoch / 8}
        for stage, epochs in (("1", 3), ("2", 1), ("3", 2))
        for epoch in range(1, epochs + 1)
    ]
    metrics = {"val": {"mAP": 0.93, "OF1": 0.84}, "test": {"mAP": 0.921, "OF1": 0.83}}
    final = {"run": "best", "metrics": metrics, "history": history}
    return summary_of(trials, best_of(trials), final=final)


@pytest.fixture(scope="module")
def page(single):
    return search_html(single)


@pytest.fixture(scope="module")
def multi():
    trials = drawn_trials(multi=True)
    return summary_of(trials, front_of(trials), ("mAP", "hamming_loss"))


@pytest.fixture(scope="module")
def multi_page(multi):
    return search_html(multi)


def test_the_page_says_what_was_searched_and_how_it_ended(page, single):
    (best,) = single["best"]
    value = single["trials"][best]["values"]["mAP"]
    gain = value - single["trials"][0]["values"]["mAP"]
    states = [t["state"] for t in single["trials"]]
    text = unescape(re.sub("<[^>]*>", "", page.split("<script>")[0]))
    for said in (
        "Search scene-tune",
        "shard set dddddddddddd. Each trial: seed 0.",
        "for the highest mAP. Sampler tpe, pruner asha (grace epochs 1, reduction factor 3).",
        f"30 trials in 33 min: {states.count('complete')} complete, ",
        f"{states.count('pruned')} pruned, 1 running, 1 failed.",
        f"trial {best}, validation mAP {value:.4f}, {gain:+.4f} against the recipe's own values",
        "trained once for all trials, in 60 s; that saved 29 min",
        "The best trained again (run best)",
        "No trial saw the test split",
    ):
        assert said in text


def test_the_page_loads_nothing_holds_plotly_once_and_is_small(page):
    assert "content=\"default-src 'none'" in page
    assert not re.search(r"<(script|link|img|iframe)[^>]*\b(src|href)=", page)
    assert page.count("plotly.js v") == 1
    assert len(page.encode()) < 6e6


def test_the_heat_map_is_over_both_lambdas_on_log_axes_with_every_trial(page, single):
    figure, words = figures(page)["mAP over loss.lambda1 and loss.lambda2"]
    trials, names = single["trials"], ("loss.lambda1", "loss.lambda2")
    assert figure["layout"]["xaxis"]["type"] == figure["layout"]["yaxis"]["type"] == "log"
    complete = in_state(trials, "complete")
    others = [t for t in complete if t["number"] not in single["best"]]
    for name, own in (("complete", others), ("pruned", in_state(trials, "pruned"))):
        assert own
        assert points(figure, name) == [tuple(t["params"][n] for n in names) for t in own]
    assert points(figure, "best") == [
        tuple(trials[number]["params"][name] for name in names) for number in single["best"]
    ]
    assert points(figure, "recipe") == [(1.0, 0.1)]
    field = figure["data"][0]
    assert sorted(zip(*(array(field[key]) for key in "xyz"), strict=True)) == sorted(
        (*(t["params"][name] for name in names), t["values"]["mAP"]) for t in complete
    )
    assert field["reversescale"] is False
    assert "interpolated; crosses were pruned" in words


def test_the_map_has_its_first_setting_across_whatever_their_names():
    space = {"z": {"float": [0, 1]}, "a": {"int": [1, 9]}}
    trials = [trial(n, {"z": n / 10, "a": 9 - n}, 0.5 + n / 100) for n in range(4)]
    page = search_html(summary_of(trials, [3], space=space, defaults={}))
    figure, _ = figures(page)["mAP over z and a"]
    columns = [array(figure["data"][0][key]) for key in "xyz"]
    assert sorted(zip(*columns, strict=True))[1] == (0.1, 8, 0.51)
    assert points(figure, "best") == [(0.3, 6)]
    assert "type" not in figure["layout"]["xaxis"]
    assert not [trace for trace in figure["data"] if trace.get("name") in ("recipe", "pruned")]


def test_a_grid_of_lambdas_has_log_axes_too():
    steps = [0.001, 0.01, 0.1, 1]
    space = {"loss.lambda1": {"choice": steps}, "loss.lambda2": {"choice": steps}}
    pairs = [(a, b) for a in steps for b in steps]
    trials = [
        trial(n, dict(zip(space, pair, strict=True)), n / 20) for n, pair in enumerate(pairs)
    ]
    figure, _ = figures(search_html(summary_of(trials, [15], space=space)))[
        "mAP over loss.lambda1 and loss.lambda2"
    ]
    assert figure["layout"]["xaxis"]["type"] == figure["layout"]["yaxis"]["type"] == "log"
    assert sorted(points(figure, "complete")) == pairs[:-1]


@pytest.mark.parametrize("name", SPACE)
def test_the_metric_stands_against_each_setting(page, single, name):
    figure, words = figures(page)[f"mAP against {name}"]
    complete = in_state(single["trials"], "complete")
    assert points(figure, "complete") + points(figure, "best") == [
        (t["params"][name], t["values"]["mAP"])
        for t in sorted(complete, key=lambda t: t["number"] in single["best"])
    ]
    assert points(figure, "pruned") == [
        (t["params"][name], t["intermediate"][-1][1]) for t in in_state(single["trials"], "pruned")
    ]
    assert "a cross is the last value of a pruned one" in words
    kind = figure["layout"]["xaxis"].get("type")
    assert kind == {"loss.score": "category"}.get(name, "log" if "lambda" in name else None)


def test_parallel_coordinates_have_a_line_for_each_complete_trial_and_the_best_in_front(
    page, single
):
    figure, _ = figures(page)["Each complete trial over all settings"]
    complete = in_state(single["trials"], "complete")
    assert len(figure["data"]) == len(complete)
    assert [trace.get("name") for trace in figure["data"]].count("best") == 1
    (best,) = single["best"]
    values = dict(array(figure["data"][-1]["customdata"]))
    assert set(values) == {"mAP", *SPACE}
    assert values["loss.score"] == single["trials"][best]["params"]["loss.score"]
    assert values["loss.lambda1"] == f"{single['trials'][best]['params']['loss.lambda1']:.3g}"


def test_importances_find_the_setting_that_matters_and_say_how(page):
    figure, words = figures(page)["Importance of each setting"]
    (bar,) = figure["data"]
    shares = dict(zip(array(bar["y"]), array(bar["x"]), strict=True))
    assert set(shares) == set(SPACE)
    assert sum(shares.values()) == pytest.approx(1)
    assert max(shares, key=shares.get) == "loss.lambda1"
    assert words.startswith("PED-ANOVA: ")
    assert "Pruned trials do not count" in words


def test_the_history_shows_trials_of_every_state_and_the_best_so_far(page, single):
    figure, _ = figures(page)["mAP trial by trial"]
    for state in ("pruned", "failed", "running"):
        assert points(figure, state) == [
            (t["number"], t["intermediate"][-1][1]) for t in in_state(single["trials"], state)
        ]
    line = [value for _, value in points(figure, "best so far")]
    assert line == sorted(line)
    assert line[-1] == single["trials"][single["best"][0]]["values"]["mAP"]


def test_each_trial_is_a_line_by_epoch_with_a_sign_at_its_end(page, single):
    figure, _ = figures(page)["mAP of each trial by epoch"]
    found = sorted(
        (trace["name"], [list(p) for p in zip(trace["x"], trace["y"], strict=True)])
        for trace in figure["data"]
    )
    wanted = sorted(
        ("best" if t["number"] in single["best"] else t["state"], t["intermediate"])
        for t in single["trials"]
    )
    assert found == wanted
    pruned = [trace for trace in figure["data"] if trace["name"] == "pruned"]
    assert {trace["marker"]["symbol"] for trace in pruned} == {"x"}
    assert [trace["showlegend"] for trace in pruned].count(True) == 1


def test_convergence_parts_the_stages_and_shows_loss_and_validation(page):
    figure, _ = figures(page)["Loss and validation by epoch"]
    losses = {trace["name"]: trace["x"] for trace in figure["data"] if "loss" in trace["name"]}
    assert losses == {
        "loss of stage 1": [1, 2, 3],
        "loss of stage 2": [4],
        "loss of stage 3": [5, 6],
    }
    assert [y for _, y in points(figure, "val/mAP")] == [0.625, 0.75, 0.875, 0.625, 0.625, 0.75]
    assert [shape["x0"] for shape in figure["layout"]["shapes"]] == [3.5, 4.5]
    said = [a["text"] for a in figure["layout"]["annotations"]]
    assert said == ["stage 1", "stage 2", "stage 3"]


def test_the_table_has_every_trial_and_why_it_ended(page, single):
    rows = re.findall('<tr><th scope="row">([0-9]+)</th>(.*?)</tr>', page)
    assert sorted(int(number) for number, _ in rows) == list(range(30))
    assert int(rows[0][0]) == single["best"][0]
    cells = dict(rows)
    assert "lr &lt;0.1&gt;" in cells["17"]
    assert f"({single['trials'][17]['intermediate'][-1][1]:.4f})" in cells["17"]


def test_two_metrics_have_their_front_and_a_map_of_each(multi_page, multi):
    found = figures(multi_page)
    assert "mAP trial by trial" not in found
    figure, _ = found["Pareto front of mAP and hamming_loss"]
    front = [multi["trials"][number]["values"] for number in multi["best"]]
    assert len(front) > 1
    assert points(figure, "best") == sorted((v["mAP"], v["hamming_loss"]) for v in front)
    assert len(points(figure, "complete")) == 28 - len(front)
    lower, _ = found["hamming_loss over loss.lambda1 and loss.lambda2"]
    assert lower["data"][0]["reversescale"] is True
    assert "hamming_loss against loss.k" in found
    lines = found["Each complete trial over all settings"][0]["data"]
    assert [trace.get("name") for trace in lines].count("best") == len(front)
    assert dict(array(lines[-1]["customdata"])).keys() >= {"mAP", "hamming_loss"}
    assert "nearest to the front" in found["Importance of each setting"][1]


def test_what_a_pruned_trial_reported_is_not_taken_for_the_second_metric():
    trials = drawn_trials(multi=True)
    trials[3] |= {"state": "pruned", "values": None}
    summary = summary_of(trials, front_of(trials), ("mAP", "hamming_loss"))
    found = figures(search_html(summary))
    assert len(points(found["mAP against loss.k"][0], "pruned")) == 1
    names = [trace["name"] for trace in found["hamming_loss against loss.k"][0]["data"]]
    assert "pruned" not in names


PARAMS = {"loss.lambda1": 0.1, "loss.lambda2": 0.1, "loss.k": 3}
THREE = {name: SPACE[name] for name in PARAMS}


@pytest.mark.parametrize(
    "trials, best, why",
    [
        ([], [], "no trial is complete"),
        ([trial(0, PARAMS, state="running")], [], "no trial is complete"),
        ([trial(0, PARAMS, state="failed", why="<lost>")], [], "no trial is complete"),
        ([trial(0, PARAMS, 0.9, intermediate=[(1, 0.9)])], [0], "only one trial is complete"),
        (
            [trial(n, {**PARAMS, "loss.k": n + 1}, 0.9) for n in range(12)],
            [0],
            "all complete trials have the same mAP, 0.9000",
        ),
        ([trial(0, PARAMS, 0.9), trial(1, PARAMS, float("nan"))], [0], "only one trial is"),
    ],
)
def test_a_figure_that_cannot_be_drawn_says_why(trials, best, why):
    summary = summary_of(trials, best, space=THREE, shared_stage=None, seconds=None)
    found = figures(search_html(summary))
    for title in ("mAP against loss.k", "Importance of each setting"):
        assert found[title][0] is None
        assert found[title][1].startswith(f"Not drawn: {why}")
    assert [data for title, (data, _) in found.items() if "over" in title] == [None, None]
    assert search_text(summary)


def test_a_setting_that_stayed_alike_is_named_and_left_out_of_the_map():
    trials = [trial(n, {**PARAMS, "loss.k": n + 1}, 0.9 + n / 100) for n in range(4)]
    found = figures(search_html(summary_of(trials, [3], space=THREE)))
    assert found["mAP against loss.lambda1"] == (
        None,
        "Not drawn: all trials have the value 0.1.",
    )
    assert found["mAP over two settings"][1].startswith("Not drawn: it needs two settings")
    assert found["mAP against loss.k"][0]
    assert found["Importance of each setting"][1] == (
        "Not drawn: it needs 10 complete trials, 4 are there."
    )


def test_importances_are_not_drawn_from_ties():
    trials = [trial(n, {**PARAMS, "loss.k": n + 1}, 0.9 if n else 0.95) for n in range(12)]
    found = figures(search_html(summary_of(trials, [0], space=THREE)))
    assert "too many complete trials have the same mAP" in found["Importance of each setting"][1]


def test_a_search_of_pruned_trials_alone_still_shows_them():
    trials = [
        trial(n, {**PARAMS, "loss.k": n + 1}, state="pruned", intermediate=[(1, 0.5 + n / 10)])
        for n in range(3)
    ]
    found = figures(search_html(summary_of(trials, [], space=THREE)))
    assert points(found["mAP trial by trial"][0], "pruned") == [(0, 0.5), (1, 0.6), (2, 0.7)]
    assert len(found["mAP of each trial by epoch"][0]["data"]) == 3


def test_trials_keep_their_numbers_where_some_are_missing():
    trials = [trial(n, {**PARAMS, "loss.k": n}, n / 8) for n in (2, 5)]
    figure, _ = figures(search_html(summary_of(trials, [5], space=THREE)))["mAP trial by trial"]
    assert points(figure, "complete") + points(figure, "best") == [(2, 0.25), (5, 0.625)]


def test_the_recipes_value_may_lie_outside_of_what_was_searched():
    space = {"loss.lambda1": {"log": [1e-3, 0.1]}, "loss.lambda2": {"log": [1e-3, 0.1]}}
    own = {"loss.lambda1": 1.0, "loss.lambda2": 0.0}
    trials = [trial(0, {"loss.lambda1": 1.0, "loss.lambda2": 0.01}, 0.8)]
    trials += [trial(n, {"loss.lambda1": n / 100, "loss.lambda2": 0.1 / n}, 0.9) for n in (1, 2)]
    page = search_html(summary_of(trials, [1], space=space, defaults=own))
    figure, _ = figures(page)["mAP over loss.lambda1 and loss.lambda2"]
    assert (1.0, 0.01) in points(figure, "complete")
    assert figure["layout"]["xaxis"]["range"][1] > 0
    # Zero has no place on a log axis.
    assert figure["layout"]["yaxis"]["type"] == "log"
    assert "recipe" not in [trace.get("name") for trace in figure["data"]]


EVIL = "</script><img src=x onerror=alert(1)>"


def test_text_of_the_summary_is_escaped_for_html_and_for_plotly():
    space = {EVIL: {"choice": ["<b>a</b>", "b"]}, "k": {"int": [1, 30]}, "l": {"int": [1, 30]}}
    trials = [
        trial(n, {EVIL: ["<b>a</b>", "b"][n % 2], "k": n + 1, "l": 30 - n}, 0.5 + n / 50, why=EVIL)
        for n in range(12)
    ]
    final = {
        "run": EVIL,
        "metrics": {EVIL: {"mAP": 0.5}},
        "history": [{"stage": EVIL, "epoch": 1, "train/total": 1.0, "val/mAP": 0.5}],
    }
    summary = summary_of(trials, [11], space=space, search=EVIL, data=EVIL, final=final)
    page = search_html({**summary, "defaults": {EVIL: EVIL}})
    assert EVIL not in page
    assert "<img" not in page.split("<script>")[0]
    found = figures(page)
    assert {"&lt;b&gt;a&lt;/b&gt;", "b"} == {
        x for x, _ in points(found[f"mAP against {EVIL}"][0], "complete")
    }
    for figure, _ in found.values():
        assert "<img" not in json.dumps(figure)


def test_the_page_is_for_readers_of_all_kinds(page):
    tags = Tags(page)
    assert tags.of("html", lang="en")
    assert len(tags.of("h1")) == len(tags.of("main")) == 1
    levels = [int(tag[1]) for tag, _ in tags.found if re.fullmatch("h[1-6]", tag)]
    assert all(after - before <= 1 for before, after in pairwise(levels))
    plots = [
        a
        for a in tags.of("div")
        if a.get("class", "").startswith("plot ") or a.get("class") == "plot"
    ]
    assert len(plots) == len(tags.of("script", type="application/json")) == 11
    assert all(plot["role"] == "img" and len(plot["aria-label"]) > 30 for plot in plots)
    assert len({plot["aria-label"] for plot in plots}) == len(plots)
    assert len(tags.of("table")) == len(tags.of("caption")) == 3
    assert len(tags.of("th")) == len(tags.of("th", scope="col")) + len(tags.of("th", scope="row"))
    assert tags.of("noscript")


def test_the_text_has_the_best_trials_first_and_counts_the_rest(single):
    lines = search_text(single).splitlines()
    head = next(n for n, line in enumerate(lines) if line.startswith("trial "))
    assert lines[head].split()[:3] == ["trial", "state", "mAP"]
    number, state, value, *_ = lines[head + 1].split()
    assert (int(number), state) == (single["best"][0], "complete")
    assert value == f"{single['trials'][single['best'][0]]['values']['mAP']:.4f}"
    assert lines[-1] == "... and 10 more"
    assert len({len(line) for line in lines[head + 1 : -1]}) == 1


def test_the_text_shows_no_control_characters_of_the_summary():
    space = {"loss.score": {"choice": ["\x1b[2Jinv", "b"]}}
    trials = [trial(0, {"loss.score": "\x1b[2Jinv"}, 0.9)]
    assert "\x1b" not in search_text(summary_of(trials, [0], space=space))


@pytest.mark.slow
def test_a_browser_draws_every_figure_without_a_complaint(page, tmp_path):
    browser = shutil.which("chromium") or shutil.which("google-chrome")
    if browser is None:
        pytest.skip("needs chromium, to draw the page")
    (tmp_path / "page.html").write_text(page)
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr")
    done = subprocess.run(
        [
            *(browser, *options, "--virtual-time-budget=20000", "--dump-dom"),
            f"--user-data-dir={tmp_path / 'profile'}",
            (tmp_path / "page.html").as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=240,
        check=True,
    )
    assert "CONSOLE" not in done.stderr
    plots = [a for a in Tags(done.stdout).of("div", role="img") if "aria-label" in a]
    assert len(plots) == 11
    assert all("js-plotly-plot" in plot["class"] for plot in plots)
    shown = unescape(done.stdout)
    for text in ("share of the importance", "epoch of the stage", "best so far", "unit_sq_tau"):
        assert f">{text}</text>" in shown
