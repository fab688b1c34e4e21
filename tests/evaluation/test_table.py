"""The table of metrics on the console."""

import math

import numpy as np
import pytest

from retdm.evaluation import evaluate, metric_table, published_table
from retdm.evaluation.table import lay_out

SCORES = np.array([[0.9, 0.1, 0.2], [0.6, 0.7, 0.1], [0.3, 0.2, 0.1]])
TARGETS = np.array([[1, 0, 0], [1, 1, 0], [0, 0, 0]], dtype=bool)
METRICS = evaluate(SCORES, TARGETS)


def line(table, name):
    found = [row.split() for row in table.splitlines() if row.split()[:1] == [name]]
    assert len(found) == 1
    return found[0]


def test_every_metric_has_its_line_and_direction():
    table = metric_table({"test": METRICS})
    for name, value in METRICS.items():
        if not name.startswith("skipped."):
            better = "lower" if name.endswith(("_loss", "coverage", "one_error")) else "higher"
            assert line(table, name) == [name, better, f"{value:.4f}"]
    assert table.isascii()
    assert "paper)" not in table


def test_families_are_sections_in_order():
    table = metric_table({"test": METRICS})
    sections = [part.splitlines() for part in table.split("\n\n")[1:-1]]
    assert [lines[0].split()[0] for lines in sections] == ["standard", "three", "three", "as"]
    firsts = [lines[1].split()[0] for lines in sections]
    assert firsts == ["mAP", "top3.CP", "top3_thresholded.CP", "toolbox.hamming_loss"]


def test_columns_are_aligned():
    rows = metric_table({"a": METRICS, "a longer name": METRICS}).splitlines()
    numbers = [row for row in rows if row.startswith("  ")]
    assert len({len(row) for row in numbers}) == 1
    assert rows[0].endswith("a longer name")


def test_what_was_left_out_stands_below():
    table = metric_table({"test": METRICS})
    assert "not counted in mAP (test): labels that no image has, 1" in table
    assert "not counted in one_error (test): images without a label, 1" in table
    whole = {n: 0.0 if n.startswith("skipped.") else v for n, v in METRICS.items()}
    assert "not counted" not in metric_table({"test": whole})


@pytest.mark.parametrize("nothing", [math.nan, None])
def test_undefined_and_absent_values(nothing):
    table = metric_table({"a": {"mAP": nothing, "OF1": 0.5}, "b": {"mAP": 0.25}})
    assert line(table, "mAP") == ["mAP", "higher", "n/a", "0.2500"]
    assert line(table, "OF1") == ["OF1", "higher", "0.5000", "-"]


def test_published_values_stand_under_their_true_names():
    table = metric_table({"test": METRICS}, dataset="scene")
    assert "BCE (paper)" in table
    found = line(table, "hamming_loss")
    assert found[3:5] == ["0.0580", "0.0580"]
    assert " ".join(found[5:]) == 'printed as "ranking loss"'
    assert line(table, "toolbox.ranking_loss")[3:5] == ["0.1331", "0.1217"]
    assert len(line(table, "ranking_loss")) == 3
    assert len(line(table, "mAP")) == 3
    assert "corrected: BCE O-P: printed .906 repeats C-P" in table
    assert "CL O-F1" not in table


def test_the_methods_own_row_of_the_paper_is_added():
    table = metric_table({"test": METRICS}, dataset="coco2014", method="warp")
    assert "CNN-WARP (paper)" in table
    assert line(table, "top3.OF1")[-1] == "0.6070"
    plain = metric_table({"test": METRICS}, dataset="coco2014")
    for method in ("mlspl", "asl", "retdm"):  # not comparable; not in the paper; there anyway
        assert metric_table({"test": METRICS}, dataset="coco2014", method=method) == plain


@pytest.mark.parametrize("dataset", ["scene", "mirflickr25k", "coco2014"])
def test_every_published_row_is_a_target_or_said_to_be_none(dataset):
    notes = metric_table({"test": METRICS}, dataset=dataset).split("\n\n")[-1].splitlines()
    assert "LMMO-kNN, MLSPL: no targets (O-F1 does not follow" in "\n".join(notes)
    assert "C2AE: no targets (neither loss column" in "\n".join(notes)
    said = [line.partition(": ")[0].split(", ") for line in notes if "targets (" in line]
    rows = [row.method for row in published_table(dataset).rows]
    assert sorted(method for line in said for method in line) == sorted(rows)


def test_paths_of_free_length_stand_beside_at_most_three_labels():
    table = metric_table({"test": METRICS}, dataset="coco2014")
    assert line(table, "top3_thresholded.OF1")[-1] == "0.6780"
    assert "0.6780" not in line(table, "top3.OF1")


def test_an_unknown_data_set_shows_no_published_values():
    assert metric_table({"test": METRICS}, dataset="mine") == metric_table({"test": METRICS})


def test_several_methods_have_their_published_rows_each_once():
    laid = lay_out({"a": METRICS}, dataset="scene", methods=["center", "retdm-one-way", "center"])
    published = [head for head in laid.head if head.endswith("(paper)")]
    assert published == ["BCE (paper)", "RETDM (paper)", "CL (paper)"]
    for rows in laid.families.values():
        assert {len(row) for row in rows} == {len(laid.head)}
