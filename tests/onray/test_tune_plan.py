"""What the trials of a search run, what they share, and what is refused before anything runs."""

import re

import pytest

from retdm.config import load_search
from retdm.data.manifest import Manifest
from retdm.errors import ConfigError
from retdm.onray.tune_plan import about, plan_search
from retdm.onray.tune_words import describe
from retdm.onray.workers import Workers

RECIPE = """
[data]
url = "nowhere"
image_size = 32
[model]
backbone = "resnet18"
weights = "none"
embedding = 8
[stages.1]
epochs = 3
[stages.2]
epochs = 1
[stages.3]
epochs = 2
[tune.space]
"loss.lambda1" = {log = [1e-2, 10]}
"loss.k" = {int = [1, 30]}
"""

MANIFEST = Manifest(name="scenes", labels=("a", "b", "c", "d", "e"), splits={}, source={})


@pytest.fixture
def planned(tmp_path):
    """Plans the search of a recipe under overrides."""
    path = tmp_path / "r.toml"
    path.write_text(RECIPE)

    def plan(*overrides, home=str(tmp_path / "search")):
        table, tune = load_search(path, overrides)
        return plan_search(
            table, tune, home=home, manifest=MANIFEST, workers=Workers(1, 1), source="r"
        )

    return plan


def test_trials_share_the_first_stage_if_nothing_searched_shapes_it(planned):
    plan = planned()
    (stage,) = plan.stages.values()
    assert stage.config.method == "bce"
    assert [one.epochs for one in stage.config.stages.values()] == [3, 0, 0]
    assert not stage.config.run.test
    assert "first stage: 3 epochs, once for all trials" in describe(plan)


@pytest.mark.parametrize(
    "searched",
    [
        "tune.space.model.dropout={float=[0, 0.5]}",
        "tune.space.stages.1.lr={log=[1e-3, 1]}",
        "tune.space.optimizer.momentum={choice=[0.0, 0.9]}",
        "tune.space.method={choice=['retdm', 'asl']}",
    ],
)
def test_trials_train_it_themselves_if_it_depends_on_what_is_searched(planned, searched):
    plan = planned(searched)
    assert not plan.stages
    assert "first stage: each trial's own, since it depends on what is searched" in describe(plan)


def test_each_seed_has_its_own_first_stage(planned):
    plan = planned("tune.seeds=2", "seed=5")
    assert {seed: cell.config.seed for seed, cell in plan.stages.items()} == {5: 5, 6: 6}
    assert plan.folders(3) == ["trials/0003-s5", "trials/0003-s6"]


def test_a_trial_never_sees_the_test_split_and_the_best_does(planned):
    plan = planned("tune.space.model.dropout={float=[0, 0.5]}")
    params = {"loss.lambda1": 0.5, "loss.k": 7, "model.dropout": 0.25}
    trial, best = plan.config(params, 0), plan.final(params, 0)
    assert (trial.loss.lambda1, trial.loss.k, trial.model.dropout) == (0.5, 7, 0.25)
    assert not trial.run.test
    assert best.run.test
    assert best.loss == trial.loss


def test_epochs_count_that_can_move_validation_scores_and_are_the_trials_own(planned):
    alone = planned("tune.space.model.dropout={float=[0, 0.5]}")
    params = {"loss.lambda1": 0.5, "loss.k": 7}
    config = alone.config({**params, "model.dropout": 0.1}, 0)
    assert alone.epochs(config) == [True, True, True, False, True, True]
    shared = planned()
    assert shared.epochs(config) == [False, False, False, False, True, True]


@pytest.mark.parametrize(
    ("override", "told"),
    [
        ("tune.metrics=['mapp']", "r: tune.metrics names 'mapp', which validation never reports;"),
        ("tune.metrics=['maP']", "did you mean mAP?"),
        ("tune.metrics=['mAP', 'mAP']", "tune.metrics names mAP twice; give two metrics"),
        ("tune.space.loss.margin={float=[1, 2]}", "loss.margin without effect on method retdm"),
        (
            "tune.space.asl.gamma_neg={float=[1, 2]}",
            "without effect on method retdm; leave it out",
        ),
        ("start_from=x", "r: start_from is set; leave it out, trials share their stage"),
        ("tune.space.model.backbone={choice=['resnet18', 'resnet19']}", "resnet19"),
    ],
)
def test_a_search_that_cannot_be_is_refused(planned, override, told):
    with pytest.raises(ConfigError, match=re.escape(told)):
        planned(override)


def test_a_setting_with_effect_under_one_of_the_values_is_searched(planned):
    plan = planned(
        "tune.space.loss.penalty={choice=['nll', 'nll_plus_hinge_margin']}",
        "tune.space.loss.margin={float=[1, 2]}",
    )
    assert "loss.margin" in plan.tune.space


def test_how_long_and_by_what_it_goes_on_does_not_make_another_search(planned):
    first = about(planned(), "d")
    assert about(planned("tune.trials=99", "tune.hours=1", "tune.sampler=random"), "d") == first
    assert about(planned("data.cache_dir=x"), "d") == first
    # What a trial sets itself does not matter either.
    assert about(planned("loss.k=3"), "d") == first
    for other in ("loss.lambda2=0.3", "tune.seeds=2", "seed=1", "tune.metrics=['OF1']"):
        assert about(planned(other), "d") != first
    assert about(planned(), "other data") != first
    assert about(planned(home="elsewhere"), "d") != first


def test_a_description_tells_space_budget_and_pruning(planned):
    assert describe(planned("tune.trials=40", "tune.hours=2"))[1:5] == [
        "  loss.lambda1: 0.01 to 10, logarithmic",
        "  loss.k: 1 to 30",
        "tpe: 40 trials, none begun after 2 hours; good at validation mAP",
        "each trial: 1 run of 2 epochs that count; stopped after epoch 1 (then 3 times as many, "
        "...) unless among the best 1/3 there",
    ]
    timed = describe(planned("tune.hours=2"))[3]
    assert timed == "tpe: trials, none begun after 2 hours; good at validation mAP"
    grid = describe(planned("tune.sampler=grid", "tune.grid_points=2", "tune.prune=none"))
    assert grid[3] == "grid: 4 trials of 4 combinations; good at validation mAP"
    assert grid[4] == "each trial: 1 run of 2 epochs that count; none is stopped early"


def test_a_description_tells_why_the_recipes_own_values_are_no_trial(planned):
    space = "tune.space={loss.k={int=[1, 5]}, loss.lambda1={log=[0.01, 10]}}"
    told = "the recipe's own values are no trial: loss.k = 10 is not in the space"
    assert told in describe(planned(space))
    assert not any("own values" in line for line in describe(planned()))


def test_a_description_tells_how_much_storage_trials_take(planned):
    def told(*overrides):
        return describe(
            planned("method=bce", "tune.space={optimizer.lr={log=[0.01, 1]}}", *overrides)
        )[-1]

    # Of resnet18: 11.2 M weights and as many numbers of momentum.
    one = "each trial that is over keeps 1 checkpoint of about 85.4 MiB, one at work up to 4 a run"
    assert told() == one
    assert "keeps 6 checkpoints of about 85.4 MiB, one at work up to 5 a run" in told(
        "tune.seeds=3", "checkpoint.keep_best=2"
    )
