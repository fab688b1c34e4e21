"""Recipes, overrides, and what a user is told about a wrong setting."""

import pytest

from retdm.config import Config, apply_overrides, known_keys, load_config, parse, read_toml
from retdm.errors import ConfigError


def _recipe(tmp_path, text=""):
    path = tmp_path / "recipe.toml"
    path.write_text(text)
    return path


def test_an_empty_recipe_is_the_papers_settings(tmp_path):
    config = load_config(_recipe(tmp_path))
    assert (config.model.backbone, config.data.batch_size, config.loss.k) == ("vgg16", 256, 10)
    optimizer = config.optimizer
    assert (optimizer.lr, optimizer.momentum, optimizer.weight_decay, optimizer.min_lr) == (
        0.1,
        0.9,
        1e-4,
        0.01,
    )
    assert config.stages["1"].train == ("image", "classifier")
    assert config.stages["2"].train == ("label", "reconstruction")
    assert set(config.stages["3"].train) == {"image", "classifier", "label", "reconstruction"}


def test_overrides_win_and_keep_the_rest_of_a_stage(tmp_path):
    path = _recipe(tmp_path, "[stages.3]\nepochs = 7\nlr = 0.5\n")
    config = load_config(path, ["stages.3.epochs=9", "loss.lambda1=0.25", "data.url=s3://b/x"])
    assert (config.stages["3"].epochs, config.stages["3"].lr) == (9, 0.5)
    assert (config.loss.lambda1, config.data.url) == (0.25, "s3://b/x")


def test_a_star_reaches_every_stage(tmp_path):
    config = load_config(_recipe(tmp_path), ["stages.*.epochs=2"])
    assert [stage.epochs for stage in config.stages.values()] == [2, 2, 2]


def test_resolved_settings_read_back_equal(tmp_path):
    config = load_config(_recipe(tmp_path), ["stages.*.epochs=2", "seed=4"])
    assert parse(Config, config.model_dump(mode="json"), source="saved") == config


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("bank.sise=3", r"unknown setting bank\.sise; did you mean bank\.size\?"),
        ("stages.1.epoch=3", r"unknown setting stages\.1\.epoch; did you mean stages\.1\.epochs"),
        ("qqqq=1", r"unknown setting qqqq; known here: method, seed, data, model, loss"),
        ("loss.lambda1=-1", r"loss\.lambda1 is -1: Input should be greater than or equal to 0"),
        ("loss.score=cosine", r"loss\.score is 'cosine': Input should be 'neg_dist', 'neg_sq"),
        (
            "optimizer.loss_scale=3",
            r"optimizer\.loss_scale is 3: Input should be a power of two",
        ),
        (
            "optimizer.loss_scale=inf",
            r"optimizer\.loss_scale is inf: Input should be a finite",
        ),
        ("bank=3", r"bank is 3, but it is a table of settings"),
        ("stages.7.epochs=1", r"stages\.7\.train is missing; set it"),
        ("bank.size", r"--set 'bank\.size' has no '='; write it as a\.b=value"),
        ("=1", r"--set '=1' has no setting before '='; write it as a\.b=value"),
        ("seed.x=1", r"--set seed\.x: seed is a value, not a table of settings"),
    ],
)
def test_a_wrong_override_is_named_with_a_remedy(tmp_path, override, message):
    with pytest.raises(ConfigError, match=message):
        load_config(_recipe(tmp_path, "seed = 1"), [override])


def test_a_missing_or_broken_recipe_is_named(tmp_path):
    with pytest.raises(ConfigError, match=r"no\.toml: no such file; give the path"):
        load_config(tmp_path / "no.toml")
    with pytest.raises(ConfigError, match=r"recipe\.toml: not a readable TOML file .*line 1"):
        load_config(_recipe(tmp_path, "a = ?\nb = 1"))


def test_values_are_toml_or_else_strings():
    table = apply_overrides({}, ["a=1", "b=x/y.pth", 'c="1"', "d=[1, 2]", "e=true"])
    assert table == {"a": 1, "b": "x/y.pth", "c": "1", "d": [1, 2], "e": True}


def test_known_keys_hold_those_that_scripts_use():
    wanted = "data.url data.batch_size data.image_size model.backbone model.weights method seed"
    losses = "loss.lambda1 loss.lambda2 loss.k loss.score loss.penalty bank.size"
    assert {*wanted.split(), *losses.split(), "stages.1.epochs"} <= set(known_keys(Config))


def test_what_a_wrong_setting_is_said_to_be_shows_no_password(tmp_path):
    given = "data.batch_size=https://me:hidden@host/a?key=hidden"
    with pytest.raises(
        ConfigError, match=r"data\.batch_size is 'https://\*\*\*@host/a\?\*\*\*': "
    ):
        load_config(_recipe(tmp_path), [given])


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (
            "x = " + "[" * 5000 + "]" * 5000,
            r"not a readable TOML file \(tables or lists in one an",
        ),
        (
            "a." * 30_000 + "a = 1",
            r"not a readable TOML file \(tables or lists in one another, to",
        ),
        ('" a"."b.c" . ' * 60 + "a = 1", r"not a readable TOML file \(tables or lists in one an"),
        ("a." * 50 + "a = 1", r"recipe.toml: 'a\..*': tables or lists in one another, too many"),
        ("seed = " + "9" * 5000, r"recipe.toml: not a readable TOML file \(Exceeds the limit"),
        ("seed = 0x" + "f" * 5000, r"recipe.toml: seed is a whole number of more than 64 bits"),
        ("seed = -9223372036854775809", r"recipe.toml: seed is a whole number of more than 64 b"),
        ("[loss]\nlambda1 = inf", r"loss.lambda1 is inf: Input should be a finite number"),
        ("[loss]\ntau = nan", r"loss.tau is nan: Input should be a finite number"),
        ("method = 5", r"method is 5: Input should be a valid string"),
        ('seed = "' + "x" * 9000 + '"', r"seed is 'x{199}\.\.\.: Input should be a valid integer"),
    ],
    ids=range(11),
)
def test_a_recipe_that_would_take_all_memory_stack_or_screen(tmp_path, text, message):
    with pytest.raises(ConfigError, match=message):
        load_config(_recipe(tmp_path, text))


@pytest.mark.parametrize(
    ("override", "message"),
    [
        (
            "a." * 3000 + "a=1",
            r"--set 'a\.a\..*: tables or lists in one another, too many; name a",
        ),
        ("seed=0x" + "f" * 5000, r"--set seed is a whole number of more than 64 bits; make it sm"),
        ("method=\udc80", r"--set method is '\\udc80', which is not UTF-8; write it as UTF-8"),
    ],
    ids=range(3),
)
def test_an_override_that_would_take_all_memory_or_stack(override, message):
    with pytest.raises(ConfigError, match=message):
        apply_overrides({}, [override])


def test_a_recipe_that_may_not_be_read(tmp_path):
    with pytest.raises(ConfigError, match="not a readable TOML file"):
        load_config(tmp_path / ("x" * 300 + ".toml"))


def test_dates_and_keys_with_dots_are_as_before(tmp_path):
    text = 'a = 1979-05-27\nb."c.d"."e" = [1.5, true, {f = "g.h.i"}]\n'
    table = read_toml(_recipe(tmp_path, text))
    assert table == {"a": "1979-05-27", "b": {"c.d": {"e": [1.5, True, {"f": "g.h.i"}]}}}
