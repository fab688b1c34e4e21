"""What a recipe says of a search, and what a wrong one is told."""

import re

import pytest

from retdm.config import load_config, load_search
from retdm.errors import ConfigError

RECIPE = """
seed = 3
[tune]
trials = 7
[tune.space]
"loss.lambda1" = {log = [1e-4, 1]}
loss.k = {int = [1, 30]}
loss.score = {choice = ["inv", "neg_dist"]}
"""


@pytest.fixture
def recipe(tmp_path):
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)
    return path


def test_settings_are_named_by_quoted_or_plain_keys(recipe):
    table, tune = load_search(recipe, ["tune.space.loss.lambda2={float=[0, 1]}"])
    assert table == {"seed": 3}
    assert {name: domain.kind for name, domain in tune.space.items()} == {
        "loss.lambda1": "log", "loss.k": "int", "loss.score": "choice", "loss.lambda2": "float",
    }  # fmt: skip
    assert tune.space["loss.k"].ends == (1, 30)
    assert tune.trials == 7


def test_a_space_can_be_replaced_as_a_whole(recipe):
    whole = 'tune.space={"loss.tau" = {log = [0.05, 2]}, loss.k = {int = [1, 9]}}'
    assert list(load_search(recipe, [whole])[1].space) == ["loss.tau", "loss.k"]


def test_training_takes_the_recipe_of_a_search(recipe):
    assert load_config(recipe).seed == 3


@pytest.mark.parametrize(
    ("text", "metrics"),
    [("OF1", ("OF1",)), ("mAP,hamming_loss", ("mAP", "hamming_loss")), ("['mAP']", ("mAP",))],
)
def test_metrics_need_no_brackets(recipe, text, metrics):
    assert load_search(recipe, [f"tune.metrics={text}"])[1].metrics == metrics


ONE_KIND = "give just one of log = [low, high], float = [low, high], int = [low, high] or"


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tune.space.loss.k={int=[3, 1]}", "int = [3, 1] is no range; give the lower end, then"),
        ("tune.space.loss.k={float=[1, 1]}", "float = [1.0, 1.0] is no range; give the lower end"),
        ("tune.space.loss.k={int=[1, 2], log=[1, 2]}", ONE_KIND),
        ("tune.space.loss.k={itn=[1, 2]}", ONE_KIND),
        ("tune.space.loss.k={}", ONE_KIND),
        ("tune.space.loss.k={log=[0, 2]}", "log needs a lower end above 0, found 0"),
        ("tune.space.loss.k={choice=[1]}", "choice needs two different values or more"),
        ("tune.space.loss.k={choice=[1, 1, 2]}", "choice needs two different values or more"),
        ("tune.space.loss.k=3", f'r.toml: tune.space."loss.k" is 3: {ONE_KIND}'),
        (
            "tune.space.loss.lambda2=[0.01, 1]",
            f'r.toml: tune.space."loss.lambda2" is [0.01, 1]: {ONE_KIND}',
        ),
        ("tune.space.stages.3.lr=[1, 2]", f'tune.space."stages.3.lr" is [1, 2]: {ONE_KIND}'),
        ("tune.space.bank=[1, 2]", f"tune.space.bank is [1, 2]: {ONE_KIND}"),
        ("tune.trails=3", "unknown setting tune.trails; did you mean tune.trials?"),
        ("tune.trials=0", "tune.trials is 0: Input should be greater than or equal to 1"),
        ("tune.sampler=tep", "tune.sampler is 'tep'"),
        ("tune.metrics=[]", "metrics"),
        ("tune=3", "tune is 3, but it is a table of settings"),
        ("loss.k=0", "loss.k is 0"),
    ],
)
def test_a_wrong_setting_is_named_with_what_was_wanted(recipe, override, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        load_search(recipe, [override])
