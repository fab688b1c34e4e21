"""Centre loss: which reading trains what, and that centres belong to the global batch."""

import numpy as np
import pytest
import torch

from retdm.config import Config, parse
from retdm.data.batch import Batch
from retdm.errors import ConfigError
from retdm.methods import build_method
from retdm.methods.center import Centres, MultiHotCenter, PerLabelCenter
from tests.methods.test_across_ranks import (
    LABELS,
    SIZES,
    config,
    images_of,
    local_batch,
    table,
    train,
)
from tests.methods.test_contract import TABLE, context

READINGS = {
    name: config("center", {"center": {"reading": name, "weight": 0.5, "width": 3}})
    for name in ("per_label_binary", "multi_hot")
}
ROLES = frozenset({"classification", "metric"})


def built(reading, **more):
    own = {"method": "center", "center": {"reading": reading}}
    return build_method(parse(Config, TABLE | own | more, source="test"), 4)


def data(rows=6):
    indices = torch.arange(rows)
    images = torch.nn.functional.interpolate(images_of(indices).float(), size=32).byte()
    return Batch(images, table()[:rows, :4], indices, torch.arange(rows) < rows - 2, rows - 2)


def test_each_role_trains_the_parts_it_says():
    model = built("multi_hot")
    for role, parts in model.reach.items():
        model.zero_grad()
        model(data(), context(frozenset({role}))).total.backward()
        reached = {
            name
            for name, part in model.parts.items()
            if any(p.grad is not None for p in part.parameters())
        }
        assert reached == parts


def test_multi_hot_shares_the_first_stage_of_bce():
    multi_hot = built("multi_hot")
    bce = build_method(parse(Config, TABLE | {"method": "bce"}, source="test"), 4)
    parts = []
    for model in (multi_hot, bce):
        torch.manual_seed(1)  # of the dropout
        parts.append(model(data(), context(frozenset({"classification"}))).parts)
    assert parts[0] == parts[1]
    assert multi_hot.classification == bce.classification
    assert set(multi_hot.state_dict()) - set(bce.state_dict()) == {"centres.value"}
    assert (multi_hot.centres.value == 0).all()  # they move with the metric loss only


def test_a_stage_of_centres_alone_is_an_error_where_a_part_would_wait():
    stages = {"1": {"train": ["image", "classifier"], "losses": ["metric"]}}
    with pytest.raises(ConfigError, match=r"has 'classifier', .* add classification"):
        built("multi_hot", stages=stages)
    with pytest.raises(ConfigError, match=r"has 'classifier', .* add classification"):
        built("per_label_binary", stages=stages)


def test_a_labels_score_is_the_softmax_of_its_two_classes():
    model = built("per_label_binary").eval()
    heads, images = model.parts["classifier"], data().images
    pairs = heads.pairs(heads.features(model.embed(images)))
    torch.testing.assert_close(model.scores(images), pairs.softmax(-1)[..., 1].detach())


@pytest.mark.parametrize("reading", READINGS)
def test_padding_moves_no_centre(reading):
    one, two, batch = built(reading), built(reading), data()
    one.eval(), two.eval()  # no dropout
    whole = Batch(batch.images[:4], batch.targets[:4], batch.indices[:4], batch.valid[:4], 4)
    torch.testing.assert_close(one(batch, context(ROLES)).parts, two(whole, context(ROLES)).parts)
    torch.testing.assert_close(one.state_dict(), two.state_dict())


@pytest.mark.parametrize("reading", READINGS)
def test_the_loss_sees_the_centres_as_they_were_before_the_step(reading):
    model = built(reading, model=TABLE["model"] | {"dropout": 0.0})
    first = model(data(), context(ROLES))
    moved = {k: v.clone() for k, v in model.state_dict().items() if "centres" in k}
    first.total.backward()  # the update in place has not spoilt the graph
    second = model(data(), context(ROLES))
    assert all((v != 0).any() for v in moved.values())
    assert second.parts["center"] != first.parts["center"]


def move(rank, world, dtype):
    centres = Centres(LABELS, 3).to(dtype)
    for step in range(4):
        order = (np.arange(step * 7, step * 7 + 7) * 7) % 40
        batch = local_batch(order, rank, world)
        features = batch.images.flatten(1)[:, :3].to(dtype) / 7
        centres.move(features, batch.targets, batch.valid, alpha=0.5)
    return centres.value


@pytest.mark.parametrize("world", [2, 3])
def test_centres_are_equal_to_the_bit_on_all_ranks(ranks, world):
    alone = move(0, 1, torch.float32)
    for found in ranks(world).run(move, world, torch.float32):
        assert torch.equal(found, alone)


def trained(rank, world, settings):
    return train(rank, world, settings, SIZES, dtype=torch.float32)


@pytest.mark.parametrize("reading", READINGS)
def test_trained_centres_are_equal_to_the_bit_on_all_ranks(ranks, reading):
    first, *others = (
        {k: v for k, v in found["weights"].items() if "centres" in k}
        for found in ranks(3).run(trained, 3, READINGS[reading])
    )
    assert first
    for other in others:
        torch.testing.assert_close(other, first, rtol=0, atol=0)


def test_the_reading_chooses_the_kind():
    assert isinstance(built("multi_hot"), MultiHotCenter)
    assert isinstance(built("per_label_binary"), PerLabelCenter)
    assert built("multi_hot").reading["center"].startswith("multi_hot")
