"""Stages as data."""

import pytest
import torch

from retdm.config import Config, apply_overrides, parse
from retdm.errors import ConfigError
from retdm.methods import build_method
from retdm.train.stages import enter, plan_stages

SETTINGS = ("model.backbone=resnet18", "model.weights=none", "data.image_size=32")


def _method(*overrides):
    config = parse(Config, apply_overrides({}, [*SETTINGS, *overrides]), source="test")
    return config, build_method(config, labels=3)


def test_the_papers_three_stages():
    one, two, three = plan_stages(*_method())
    assert (set(one.train), one.losses) == ({"image", "classifier"}, {"classification"})
    assert set(two.train) == {"label", "reconstruction"}
    assert set(three.train) == {"image", "classifier", "label", "reconstruction"}
    assert two.losses == three.losses == {"classification", "metric", "reconstruction"}
    assert not two.trains_classifier


def test_bce_keeps_stages_1_and_3_with_its_own_loss():
    stages = plan_stages(*_method("method=bce"))
    assert [stage.name for stage in stages] == ["1", "3"]
    assert all(stage.losses == {"classification"} for stage in stages)


def test_nothing_to_train_is_an_error():
    with pytest.raises(ConfigError, match=r"no stage trains anything; give at least one of stag"):
        plan_stages(*_method("stages.*.epochs=0"))


def test_entering_a_stage_freezes_the_rest_in_evaluation_mode():
    config, method = _method()
    two = plan_stages(config, method)[1]
    trained = enter(two, method)
    assert {id(p) for p in trained} == {
        id(p) for part in two.train for p in method.parts[part].parameters()
    }
    for name, part in method.parts.items():
        learns = name in two.train
        assert part.training is learns
        assert all(p.requires_grad is learns for p in part.parameters())
    assert isinstance(trained[0], torch.nn.Parameter)
