"""A space of settings: what is drawn from it, and which are refused before anything runs."""

import re

import optuna
import pytest

from retdm.config import TuneSettings, lay_over
from retdm.errors import ConfigError
from retdm.tuning.space import check_space, combinations, distributions, grid, probes, to_json


def _space(**domains):
    named = {name.replace("__", "."): domain for name, domain in domains.items()}
    return TuneSettings.model_validate({"space": named}).space


SPACE = _space(
    loss__lambda1={"log": [0.01, 1]},
    loss__k={"int": [1, 4]},
    model__dropout={"float": [0, 0.5]},
    loss__score={"choice": ["inv", "neg_dist"]},
)


def test_everything_drawn_is_inside():
    study = optuna.create_study(sampler=optuna.samplers.RandomSampler(seed=0))
    drawn = [study.ask(distributions(SPACE)).params for _ in range(200)]
    assert all(0.01 <= one["loss.lambda1"] <= 1 for one in drawn)
    assert {one["loss.k"] for one in drawn} == {1, 2, 3, 4}
    assert all(0 <= one["model.dropout"] <= 0.5 for one in drawn)
    assert {one["loss.score"] for one in drawn} == {"inv", "neg_dist"}
    # On a logarithmic scale as many are below .1 as above it.
    assert 70 < sum(one["loss.lambda1"] < 0.1 for one in drawn) < 130


def test_a_grid_has_both_ends_and_steps_alike_on_the_scale():
    points = grid(SPACE, 3)
    assert points["loss.lambda1"] == pytest.approx([0.01, 0.1, 1])
    assert points["loss.k"] == [1, 2, 4]
    assert points["model.dropout"] == [0, 0.25, 0.5]
    assert points["loss.score"] == ["inv", "neg_dist"]
    assert len(combinations(SPACE, 3)) == 3 * 3 * 3 * 2


def test_whole_numbers_come_once_in_a_grid():
    assert grid(_space(loss__k={"int": [1, 3]}), 9) == {"loss.k": [1, 2, 3]}


def test_both_ends_and_every_choice_are_tried_on_the_settings():
    configs = check_space(SPACE, {"seed": 2}, source="r.toml")
    assert [one.loss.k for one in configs[3:5]] == [1, 4]
    assert {one.loss.score for one in configs[-2:]} == {"inv", "neg_dist"}
    assert {one.seed for one in configs} == {2}


@pytest.mark.parametrize(
    ("name", "domain", "told"),
    [
        (
            "loss.lamda1",
            {"log": [1, 2]},
            "unknown setting loss.lamda1; did you mean loss.lambda1?",
        ),
        ("loss.k", {"int": [0, 2]}, "loss.k is 0: Input should be greater than or equal to 1"),
        (
            "loss.k",
            {"float": [1, 2]},
            "Input should be a valid integer, got a number with a fractional",
        ),
        ("loss.score", {"choice": ["inv", "in"]}, "loss.score is 'in': Input should be"),
        ("seed", {"int": [1, 2]}, "tune.space.seed cannot be searched: give tune.seeds"),
        ("data.url", {"choice": ["a", "b"]}, "data.url cannot be searched: one search is of one"),
    ],
)
def test_a_value_that_no_run_would_take_is_refused(name, domain, told):
    space = TuneSettings.model_validate({"space": {name: domain}}).space
    with pytest.raises(ConfigError, match=re.escape(told)):
        check_space(space, {}, source="r.toml")


def test_an_empty_space_is_refused():
    with pytest.raises(ConfigError, match=r"^r.toml: tune.space is empty; name what to search"):
        check_space({}, {}, source="r.toml")


def test_it_is_written_as_it_was_read():
    assert TuneSettings.model_validate({"space": to_json(SPACE)}).space == SPACE


def test_probes_of_a_range_of_fractions_are_not_all_whole():
    assert any(value % 1 for value in probes(_space(a__b={"float": [1, 9]})["a.b"]))


def test_what_is_laid_over_a_recipe_leaves_it_alone():
    table = {"loss": {"k": 3}}
    assert lay_over(table, {"loss.k": 4, "stages.3.lr": 0.1}) == {
        "loss": {"k": 4}, "stages": {"3": {"lr": 0.1}},
    }  # fmt: skip
    assert table == {"loss": {"k": 3}}
