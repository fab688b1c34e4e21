"""The paper's tables: complete, consistent, and under names that `evaluate` has."""

import numpy as np
import pytest

from retdm.evaluation import evaluate
from retdm.evaluation.published import printed_names, published_table, target_notes

TABLES = {"scene": (5, 1.24), "mirflickr": (24, 3.716), "coco": (80, 2.9)}
ROWS = [
    (data, row.method)
    for data in TABLES
    for row in published_table(data).rows
    if row.protocol.startswith("thresholded")
]


@pytest.mark.parametrize("name", ["coco", "COCO-2014", "ms_coco", "mirflickr25k", "Scene"])
def test_names_of_the_full_data_sets_match(name):
    assert published_table(name) is not None


@pytest.mark.parametrize("name", ["coco3k", "mirflickr2k", "synthetic", ""])
def test_subsets_and_others_do_not(name):
    assert published_table(name) is None


def test_methods_of_each_table():
    common = ["LMMO-kNN", "MLSPL", "BCE", "C2AE", "RETDM"]
    methods = {data: {row.method for row in published_table(data).rows} for data in TABLES}
    assert methods["scene"] == methods["mirflickr"] == {*common, "CL"}
    top3 = {"CNN-Softmax", "CNN-WARP", "CNN-RNN"}
    assert methods["coco"] == {*common, *top3, "RETDM (one-way)"}


@pytest.mark.parametrize("data", TABLES)
def test_all_names_are_those_of_evaluate(data):
    known = set(evaluate(np.full((1, 3), 0.5), [[1, 0, 0]]))
    for row in published_table(data).rows:
        assert set(row.values) <= known
        assert len(row.printed) == (6 if row.protocol in ("top3", "up-to-3") else 11)
        assert bool(row.values) == bool(row.predicted) == (row.protocol != "unclear")
        assert bool(row.why_not) == (row.protocol == "unclear")


def test_misleading_headings_are_translated():
    row = published_table("coco").row("RETDM")
    assert row.printed["ranking loss"] == row.values["hamming_loss"] == 0.0189
    assert row.printed["hamming loss"] == row.values["toolbox.ranking_loss"] == 0.3295
    assert "ranking_loss" not in row.values
    assert "mAP" not in row.values
    assert printed_names()["toolbox.ranking_loss"] == "hamming loss"


@pytest.mark.parametrize(
    "method, family",
    [("CNN-Softmax", "top3"), ("CNN-WARP", "top3"), ("CNN-RNN", "top3_thresholded")],
)
def test_top_3_rows_are_not_compared_with_thresholded_ones(method, family):
    values = published_table("coco").row(method).values
    assert {name.split(".")[0] for name in values} == {family}


@pytest.mark.parametrize(
    "method, labels", [("CNN-Softmax", 2.98), ("CNN-WARP", 2.96), ("CNN-RNN", 2.78)]
)
def test_a_row_names_three_labels_for_every_image_or_fewer(method, labels):
    """R * cardinality / P is the number of labels that it predicts for an image."""
    row = published_table("coco").row(method)
    implied = row.printed["O-R"] * TABLES["coco"][1] / row.printed["O-P"]
    assert implied == pytest.approx(labels, abs=0.02)
    assert row.protocol == ("top3" if implied > 2.9 else "up-to-3")


def test_every_row_is_said_to_be_a_target_or_why_it_is_none():
    assert target_notes(published_table("coco")) == [
        "CNN-Softmax, CNN-WARP: usable as targets (the three best labels of every image, beside "
        "our top3.*)",
        "CNN-RNN: usable as targets (one to three labels an image, as paths of free length, "
        "beside our top3_thresholded.*; the printed figures imply 2.78 labels an image, those of "
        "CNN-Softmax 2.98)",
        "BCE, RETDM (one-way), RETDM: usable as targets (labels over the threshold; C-F1 of the "
        "mean precision and recall)",
        "LMMO-kNN, MLSPL: no targets (O-F1 does not follow from O-P and O-R, so no one set of "
        "predictions gives this row)",
        "C2AE: no targets (neither loss column is consistently the hamming loss that O-P and O-R "
        "imply)",
    ]
    left = target_notes(published_table("scene"), but=["CL", "LMMO-kNN", "C2AE"])
    assert [line.partition(":")[0] for line in left] == ["BCE, RETDM", "MLSPL"]


def test_the_centre_loss_rows_print_the_mean_f1():
    values = published_table("scene").row("CL").values
    assert values["CF1_mean"] == 0.152
    assert "toolbox.CF1" not in values


def test_corrections_change_the_value_and_keep_the_print():
    row = published_table("scene").row("BCE")
    assert (row.printed["O-P"], row.values["OP"]) == (0.906, 0.898)
    assert row.corrections == (
        "O-P: printed .906 repeats C-P; O-F1 and the hamming loss give .898",
    )
    assert published_table("coco").row("BCE").corrections == ()


def test_an_absent_method_has_no_row():
    assert published_table("scene").row("CNN-RNN") is None


@pytest.mark.parametrize("data, method", ROWS)
def test_columns_of_a_row_fit_together(data, method):
    """H = card / L * ((1 - R) + R (1/P - 1)) shows that the column is the hamming loss."""
    labels, cardinality = TABLES[data]
    values = published_table(data).row(method).values
    precision, recall = values["OP"], values["OR"]
    hamming = cardinality / labels * ((1 - recall) + recall * (1 / precision - 1))
    assert values["hamming_loss"] == pytest.approx(hamming, rel=0.04)
    assert values["OF1"] == pytest.approx(2 / (1 / precision + 1 / recall), abs=2.5e-3)
