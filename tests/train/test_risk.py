"""Settings that are likely to diverge are named before training, and others are left in peace."""

import re

import pytest

from retdm.methods import build_method
from retdm.train.dry_run import describe
from retdm.train.risk import divergence_risk
from tests.train.conftest import settings

HIGH = ("model.backbone=vgg16", "optimizer.lr=0.1")
MEAN = "loss.bce_reduction=mean"
PRETRAINED = "model.weights=imagenet"


def _risk(*overrides):
    # The 134 million weights of the network itself have no say in it.
    small = [*overrides, "model.backbone=resnet18", "model.weights=none"]
    method = build_method(settings("", *small), labels=3)
    return divergence_risk(settings("", *HIGH, *overrides), method)


@pytest.mark.parametrize(
    ("overrides", "message"),
    [
        (
            (PRETRAINED,),
            "a learning rate of 0.1 with loss.bce_reduction='sum' is likely to diverge on vgg16, "
            "which has no batch normalisation; set optimizer.lr=0.01 and optimizer.min_lr=0.001, "
            "or optimizer.clip_norm=1, or loss.bce_reduction=mean",
        ),
        ((MEAN,), "a learning rate of 0.1 with model.weights='none' may diverge on vgg16, which "),
        (("method=softmax",), "of 0.1 with model.weights='none' may diverge"),
        (
            ("method=asl",),
            "of 0.1 with model.weights='none' and loss.bce_reduction='sum' is likely to diverge",
        ),
        (("optimizer.lr=0.01", "stages.3.lr=0.2"), "a learning rate of 0.2 with"),
        (("model.backbone=timm:vgg19",), "is likely to diverge on timm:vgg19, which"),
    ],
)
def test_the_papers_rate_on_a_plain_vgg_is_told_with_remedies(overrides, message):
    found = _risk(*overrides)
    assert found is not None
    assert re.match(f".*{re.escape(message)}", found)


@pytest.mark.parametrize(
    "overrides",
    [
        (PRETRAINED, MEAN),
        (PRETRAINED, "method=softmax"),
        ("optimizer.lr=0.09",),
        ("stages.1.lr=0.01", "stages.3.lr=0.01"),
        ("optimizer.clip_norm=1",),
        ("model.backbone=vgg16_bn",),
        ("model.backbone=resnet50",),
        ("method=lmmo-knn",),
    ],
    ids="-".join,
)
def test_nothing_is_told_of_other_settings(overrides):
    assert _risk(*overrides) is None


@pytest.mark.slow
def test_a_dry_run_tells_it():
    config = settings("", "model.backbone=vgg11", "optimizer.lr=0.1")
    method = build_method(config, 2, load_weights=False)
    lines = describe(config, method, samples=None, workers=1)
    (told,) = [line for line in lines if line.startswith("warning: ")]
    assert told == f"warning: {_risk('model.backbone=vgg11')}"
