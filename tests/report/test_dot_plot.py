"""The plots of a comparison: every seed, the axis, and the same in words."""

import xml.etree.ElementTree as ElementTree

import pytest

from retdm.report.dot_plot import Dots, axis, dot_plot


def test_a_plot_in_words_names_published_values_and_missing_runs():
    lines = [Dots("bce", {"0": 0.9, "1": 0.91}, published=0.905), Dots("none", {})]
    svg = ElementTree.fromstring(dot_plot("mAP", lines))
    assert svg.find("desc").text == (
        "bce: mean 0.9050 of 2 from 0.9000 to 0.9100 (published 0.905); none: no run."
    )


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
