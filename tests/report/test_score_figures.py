"""The figures of scores, by their data; and the gallery's order and copies."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from sklearn.metrics import average_precision_score, log_loss, precision_score, recall_score

from retdm import losses
from retdm.bank import LabelSets
from retdm.evaluation.reliability import reliability
from retdm.methods.common_space import CommonSpace
from retdm.report.curve_figures import label_curves, micro_figure
from retdm.report.gallery import cross_entropy, thumbnail
from retdm.report.html_page import table_section
from retdm.report.plotly_figure import figure_html
from retdm.report.run_course import losses_figure
from retdm.report.run_files import RunFiles
from retdm.report.score_figures import Scored, label_figure, reliability_figure
from retdm.report.space import Space
from retdm.report.space_figures import (
    agreement_figure,
    distances_figure,
    map_figure,
    neighbours_table,
)
from retdm.report.together_figure import together_figure
from retdm.storage import open_store


def scored(labels=7, images=80, name="run", seed=0):
    """Scores that are better for later labels, which are also more frequent."""
    rng = np.random.default_rng(seed)
    targets = rng.random((images, labels)) < np.linspace(0.1, 0.6, labels)
    targets[0] = True  # no label is without an image
    noise = rng.random((images, labels))
    weight = np.linspace(0.1, 0.7, labels)
    scores = (weight * targets + (1 - weight) * noise).astype(np.float32)
    return Scored(name, [f"l{n}" for n in range(labels)], scores, targets, 0.5)


def trace(figure, name):
    (found,) = [one for one in figure.plot.data if one.name == name]
    return found


def test_bars_are_scikit_learns_average_precision_with_counts_the_best_first():
    one, other = scored(), scored(name="other", seed=1)
    other = Scored("other", one.labels, other.scores, one.targets, 0.5)
    figure, table = label_figure([one, other])
    wanted = {
        f"l{n} ({one.targets[:, n].sum()})": average_precision_score(
            one.targets[:, n], one.scores[:, n]
        )
        for n in range(7)
    }
    bars = trace(figure, "run")
    assert dict(zip(bars.y, bars.x, strict=True)) == pytest.approx(wanted)
    assert list(bars.x) == sorted(bars.x, reverse=True)
    assert list(trace(figure, "other").y) == list(bars.y)
    assert table.head == ["label", "images", "AP run", "AP other"]
    assert [row[2].text for row in table.rows] == [f"{value:.4f}" for value in bars.x]


def test_of_many_labels_the_most_frequent_have_bars_and_all_are_in_the_table():
    one = scored(labels=120)
    figure, table = label_figure([one])
    counts = one.targets.sum(axis=0)
    drawn = {name.split(" ")[0] for name in trace(figure, "run").y}
    left_out = [int(count) for n, count in enumerate(counts) if f"l{n}" not in drawn]
    assert (len(drawn), len(left_out)) == (100, 20)
    assert max(left_out) <= min(counts[int(name[1:])] for name in drawn)
    assert len(table.rows) == 120
    assert "Drawn are the 100 most frequent of 120 labels" in figure.words


def test_a_label_that_no_image_has_is_last_and_has_no_value():
    one = scored()
    one.targets[:, 3] = False
    figure, table = label_figure([one])
    assert [cell.text for cell in table.rows[-1]] == ["l3", "0", "n/a"]
    assert "lowest: l3" not in figure.words
    assert "nan" not in figure.words
    one.targets[:] = False
    assert "highest" not in label_figure([one])[0].words


def test_a_sign_stands_where_the_threshold_predicts():
    one = scored()
    figure = micro_figure([one])
    _, sign = figure.plot.data
    truth, predicted = one.targets.ravel(), one.predicted.ravel()
    assert sign.y[0] == pytest.approx(precision_score(truth, predicted))
    assert sign.x[0] == pytest.approx(recall_score(truth, predicted))
    assert f"run precision {sign.y[0]:.3f}, recall {sign.x[0]:.3f}." in figure.words
    never = Scored("shy", one.labels, one.scores * 0.4, one.targets, 0.5)
    assert "shy predicts nothing" in micro_figure([never]).words
    none = Scored("none", one.labels, one.scores, one.targets & False, 0.5)
    assert micro_figure([none]).words == "Not drawn: no image has a label."


def test_curves_are_drawn_of_the_best_label_the_worst_and_three_between():
    one = scored(labels=20)
    values = [average_precision_score(one.targets[:, n], one.scores[:, n]) for n in range(20)]
    figure = label_curves(one)
    names = [curve.name for curve in figure.plot.data if curve.name]
    best, worst = int(np.argmax(values)), int(np.argmin(values))
    assert len(names) == 5
    assert names[0] == f"l{best} (AP {values[best]:.3f})"
    assert names[-1] == f"l{worst} (AP {values[worst]:.3f})"


def test_the_reliability_diagram_has_the_bins_and_says_the_error():
    one = scored()
    figure = reliability_figure([one])
    found = reliability(one.scores, one.targets)
    assert trace(figure, "run").y == pytest.approx(found.share[found.cells > 0], abs=1e-5)
    assert list(trace(figure, "run").text) == list(found.cells[found.cells > 0])
    assert f"run {found.error:.4f}." in figure.words


def test_the_maps_of_labels_that_come_together_are_of_truth_and_prediction():
    one = scored(labels=40)
    one.targets[:, 35:] = False
    figure = together_figure(one)
    true, predicted = figure.plot.data
    assert len(true.x) == 30
    assert "The 30 most frequent of 40 labels" in figure.words
    a, b = (int(name[1:]) for name in (true.y[4], true.x[9]))
    for heat, table in ((true, one.targets), (predicted, one.predicted)):
        having = [row for row in table if row[a]]
        share = sum(bool(row[b]) for row in having) / len(having)
        assert heat.z[4][9] == pytest.approx(share, abs=1e-4)


def test_labels_called_by_numbers_are_names_on_every_axis():
    one = scored(labels=3)
    one = Scored("run", ["10", "3", "2020-01-01"], one.scores, one.targets, 0.5)
    together = together_figure(one).plot
    bars, _ = label_figure([one])
    axes = [*together.select_xaxes(), *together.select_yaxes(), bars.plot.layout.yaxis]
    assert [axis.type for axis in axes] == ["category"] * 5


def test_photos_are_ordered_by_scikit_learns_cross_entropy():
    one = scored()
    each = [
        log_loss(t, s.astype(np.float64), labels=[False, True])
        for t, s in zip(one.targets, one.scores, strict=True)
    ]
    assert cross_entropy(one.scores, one.targets) == pytest.approx(each, rel=1e-5)
    extreme = cross_entropy(np.array([[0.0, 1.0]]), np.array([[True, True]]))
    assert np.isfinite(extreme).all()


def test_a_thumbnail_is_small_and_says_nothing_of_place_or_camera_and_no_comment():
    exif = Image.Exif()
    exif[0x010F] = "Secret Camera"
    out = io.BytesIO()
    noise = Image.effect_noise((900, 600), 80).convert("RGB")
    noise.save(out, "JPEG", exif=exif, comment="Secret Garden")
    assert b"Secret Camera" in out.getvalue()
    assert b"Secret Garden" in out.getvalue()
    photo = thumbnail(out.getvalue())
    small = base64.b64decode(photo.src.removeprefix("data:image/jpeg;base64,"))
    assert Image.open(io.BytesIO(small)).size == (240, 160)
    assert b"Secret" not in small
    assert len(small) < 30_000
    assert thumbnail(b"no photo").src == ""
    assert "cannot be decoded" in thumbnail(b"no photo").why


def test_a_long_log_is_averaged_and_no_value_is_lost(tmp_path):
    lines = [{"kind": "step", "step": n, "bce": float(n)} for n in range(1, 1001)]
    run = RunFiles(
        store=open_store(str(tmp_path)),
        name="long",
        config={"method": "bce"},
        reading={},
        labels=["a"],
        data_digest="d",
        history=[],
        lines=lines,
        damaged=0,
        result=None,
    )
    line = trace(losses_figure(run), "bce")
    assert len(line.x) <= 400
    assert (line.x[0], line.y[0]) == (3, 2.0)
    assert line.x[-1] == 1000


EVIL = "</script><img src=x onerror=alert(1)>"


def test_labels_of_strangers_are_escaped_for_html_and_for_plotly():
    one = scored()
    evil = Scored(EVIL, [f"{EVIL}{n}" for n in range(7)], one.scores, one.targets, 0.5)
    known = LabelSets(torch.from_numpy(one.targets))
    common = CommonSpace(lambda x: x, lambda x: x, losses.euclidean, "distance")
    generator = torch.Generator().manual_seed(0)
    space = Space(
        known,
        torch.randn(len(one.targets), 4, generator=generator),
        torch.randn(len(known), 4, generator=generator),
        common,
    )
    bars, table = label_figure([evil])
    drawn = [bars, micro_figure([evil]), label_curves(evil), reliability_figure([evil])]
    drawn += [together_figure(evil), map_figure(space, evil.labels, EVIL)]
    drawn += [distances_figure(space, EVIL, k=2), agreement_figure(space, EVIL)]
    tables = [table, neighbours_table(space, evil.labels, EVIL)]
    for figure in drawn:
        assert "<img" not in figure.plot.to_json(), figure.title
        assert "<img" not in figure_html(figure)
    assert not [table for table in tables if "<img" in "".join(table_section(table))]
