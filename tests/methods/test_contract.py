"""What every method must satisfy in each of its readings; new ones join by being listed."""

from typing import Literal, get_args, get_origin

import pytest
import torch
from torch import nn

from retdm.bank import LabelSets
from retdm.config import Config, apply_overrides, parse
from retdm.data.batch import Batch
from retdm.errors import ConfigError
from retdm.methods import METHODS, StepContext, build_method
from retdm.methods.fitted import FittedMethod
from tests.methods.variants import VARIANTS

LABELS = 4
TABLE = {
    "data": {"image_size": 32},
    "model": {"backbone": "squeezenet1_1", "weights": "none", "embedding": 8},
}


def parsed(**more):
    return parse(Config, TABLE | more, source="test")


def config(name, *more):
    """Settings of one of `VARIANTS`."""
    return parsed(**apply_overrides({}, [*VARIANTS[name], *more]))


def entry(name):
    return METHODS[config(name).method]


FITTED = [name for name in VARIANTS if issubclass(entry(name).kind, FittedMethod)]
STEPPING = [name for name in VARIANTS if name not in FITTED]


@pytest.fixture(params=VARIANTS)
def name(request):
    return request.param


@pytest.fixture
def model(name):
    return made(name)


def made(name):
    """The method; fitted to a few images if it is one that is fitted."""
    method = build_method(config(name), LABELS)
    if isinstance(method, FittedMethod):
        images, targets = batch(60).images, batch(60).targets
        method.fit(method.embed(images).detach(), targets)
    return method


@pytest.fixture
def stepping(model):
    if isinstance(model, FittedMethod):
        pytest.skip("fitted in one go: it has no steps, losses and gradients")
    return model


def batch(rows=4):
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (rows, 3, 32, 32), dtype=torch.uint8, generator=rng)
    targets = torch.eye(LABELS, dtype=torch.bool).repeat(rows, 1)[:rows]
    return Batch(images, targets, torch.arange(rows), torch.ones(rows, dtype=torch.bool), rows)


def context(losses):
    sets = LabelSets(torch.eye(LABELS, dtype=torch.bool).repeat(2, 1))
    return StepContext(losses, None, False, sets, seed=0, step=0)


def test_every_method_is_here_in_every_reading_of_its_own_settings():
    chosen = {override for overrides in VARIANTS.values() for override in overrides}
    assert chosen >= {f"method={name}" for name in METHODS}
    for table in ("asl", "center", "c2ae", "warp", "cnn_rnn", "lmmo", "mlspl"):
        for name, field in type(getattr(parsed(), table)).model_fields.items():
            if get_origin(field.annotation) is Literal:
                others = set(get_args(field.annotation)) - {field.default}
                assert {f"{table}.{name}={value}" for value in others} <= chosen


def test_its_losses_reach_all_its_parts(stepping):
    stepping(batch(), context(stepping.losses)).total.backward()
    assert frozenset().union(*stepping.reach.values()) == set(stepping.parts)
    for part in stepping.parts.values():
        assert all(p.grad is not None for p in part.parameters())


def test_each_loss_trains_the_parts_it_says(stepping):
    for loss, parts in stepping.reach.items():
        stepping.zero_grad()
        stepping(batch(), context(frozenset({loss}))).total.backward()
        trained = {
            name
            for name, part in stepping.parts.items()
            if any(p.grad is not None for p in part.parameters())
        }
        assert trained == parts


def test_every_parameter_is_in_one_part(model):
    in_parts = [id(p) for part in model.parts.values() for p in part.parameters()]
    assert sorted(in_parts) == sorted(id(p) for p in model.parameters())


def test_parts_are_detached_scalars_with_a_total(stepping):
    output = stepping(batch(), context(stepping.losses))
    assert "total" in output.parts
    assert output.total.shape == ()
    assert output.total.item() == pytest.approx(output.parts["total"].item())
    for value in output.parts.values():
        assert value.shape == ()
        assert not value.requires_grad


class Bits(nn.Module):
    """An image net for `easy`: each corner's brightness, in a space of width 8."""

    def __init__(self):
        super().__init__()
        self.linear = nn.Linear(12, 8)

    def forward(self, images):
        return self.linear(images.flatten(1) / 255 - 0.5)


def easy():
    """Images whose labels can be read off: each present one brightens a corner."""
    rng = torch.Generator().manual_seed(0)
    targets = torch.arange(1, 15)[:, None].bitwise_and(2 ** torch.arange(LABELS)) > 0
    noise = torch.randint(0, 60, (14, 3, 2, 2), dtype=torch.uint8, generator=rng)
    images = noise + 190 * targets.view(14, 1, 2, 2).to(torch.uint8)
    return Batch(images, targets, torch.arange(14), torch.ones(14, dtype=torch.bool), 14)


@pytest.mark.parametrize("name", STEPPING)
def test_its_loss_falls_and_its_scores_tell_easy_labels_apart(name):
    torch.manual_seed(0)
    method, data = entry(name).make(config(name), Bits(), LABELS), easy()
    optimizer = torch.optim.SGD(method.parameters(), lr=0.1, momentum=0.9)
    totals = []
    for step in range(150):
        given = StepContext(method.losses, None, False, LabelSets(data.targets), seed=0, step=step)
        optimizer.zero_grad()
        output = method(data, given)
        output.total.backward()
        optimizer.step()
        totals.append(output.total.item())
    assert sum(totals[-10:]) / 10 < 0.8 * totals[0]
    scores = method.scores(data.images)
    right = scores.where(data.targets, 2).amin(1) > scores.where(~data.targets, -1).amax(1)
    assert right.float().mean() > 0.8


def test_scores_are_probabilities_and_leave_the_modes_alone(model):
    model.parts["image"].eval()
    model.parts["classifier"].train()
    modes = [part.training for part in model.modules()]
    scores = model.scores(batch().images)
    assert scores.shape == (4, LABELS)
    assert scores.dtype == torch.float32
    assert ((scores >= 0) & (scores <= 1)).all()
    assert not scores.requires_grad
    assert [part.training for part in model.modules()] == modes


def test_scores_do_not_depend_on_the_rest_of_the_batch(model):
    images = batch().images
    torch.testing.assert_close(model.scores(images)[1:2], model.scores(images[1:2]))


def test_weights_are_a_function_of_the_seed(name):
    torch.manual_seed(1)
    one = build_method(config(name), LABELS).state_dict()
    after = torch.rand(1)
    torch.manual_seed(1)
    assert torch.rand(1) == after  # nobody else's random numbers moved
    two = build_method(config(name), LABELS).state_dict()
    other = build_method(config(name, "seed=7"), LABELS).state_dict()
    torch.testing.assert_close(one, two, rtol=0, atol=0)
    part = "image" if name in FITTED else "classifier"
    fresh = [name for name in one if name.startswith(f"parts.{part}.")]
    assert fresh
    assert not all(torch.equal(one[name], other[name]) for name in fresh)


def test_survives_a_checkpoint(name, model):
    other = build_method(config(name, "seed=9"), LABELS)
    before = other.scores(batch().images)
    other.load_state_dict(model.state_dict())
    torch.testing.assert_close(other.scores(batch().images), model.scores(batch().images))
    assert not torch.equal(before, other.scores(batch().images))


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_is_a_function_of_its_input(name):
    torch.testing.assert_close(made(name).state_dict(), made(name).state_dict(), rtol=0, atol=0)


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_takes_no_steps_and_leaves_the_image_net_alone(name):
    fresh, fitted = build_method(config(name), LABELS), made(name)
    for key, value in fresh.parts["image"].state_dict().items():
        assert torch.equal(value, fitted.parts["image"].state_dict()[key])
    assert not any(parameter.requires_grad for parameter in fitted.parameters())
    assert not any(module.training for module in fitted.parts["image"].modules())
    with pytest.raises(TypeError, match="takes no steps; call fit"):
        fitted(batch(), context(frozenset()))


@pytest.mark.parametrize("name", FITTED)
def test_a_fit_tells_separable_features_apart(name):
    # The mean over several draws: one draw says little, lmmo-knn's range from .88 to 1. A mean of
    # 10 neighbours needs about as many images of a label set, hence 350 for 16 sets.
    right = []
    for seed in range(6):
        method = build_method(config(name), LABELS)
        width = method.parts["image"].width
        rng = torch.Generator().manual_seed(seed)
        targets = torch.rand(400, LABELS, generator=rng) < 0.4
        features = targets.float() @ torch.randn(LABELS, width, generator=rng)
        features = 100 + 3 * features + 0.5 * torch.randn(400, width, generator=rng)
        method.fit(features[:350], targets[:350])
        scores = method.probabilities(method.logits(features[350:]))
        right.append(((scores > 0.5) == targets[350:]).float().mean().item())
    assert sum(right) / len(right) > 0.95, right


def test_reading_is_text(model):
    assert model.reading
    assert all(isinstance(value, str) and value for value in model.reading.values())


@pytest.mark.parametrize(
    "method, message",
    [("retmd", "'retmd' is not known; did you mean retdm"), ("zzz", "known: retdm, retdm-one")],
)
def test_an_unknown_method_is_an_error(method, message):
    with pytest.raises(ConfigError, match=message):
        build_method(parsed(method=method), LABELS)


def test_a_stage_that_trains_an_unreached_part_is_an_error():
    stages = {"1": {"train": ["image", "classifier", "label"], "losses": ["classification"]}}
    with pytest.raises(ConfigError, match=r"stages\.1\.train has 'label', .* add metric or rec"):
        build_method(parsed(method="retdm", stages=stages), LABELS)


def test_bce_passes_over_parts_it_does_not_have():
    stages = {"1": {"train": ["image", "classifier", "label"], "losses": ["classification"]}}
    assert set(build_method(parsed(method="bce", stages=stages), LABELS).parts) == {
        "image",
        "classifier",
    }
