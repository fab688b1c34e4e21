"""The learning rate falls tenfold on a plateau, to the floor and no further."""

import pytest
import torch

from retdm.config import OptimizerSettings
from retdm.train.schedule import StageOptimizer


def _optimizer(**settings):
    weight = torch.nn.Parameter(torch.ones(2))
    return weight, StageOptimizer(
        [weight], OptimizerSettings(patience=1, **settings), lr=settings.get("lr", 0.1)
    )


def test_the_rate_drops_once_when_validation_saturates():
    _, optimizer = _optimizer()
    rates = []
    for value in [0.5, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]:
        optimizer.end_epoch(value)
        rates.append(optimizer.lr)
    assert rates == pytest.approx([0.1, 0.1, 0.1, 0.01, 0.01, 0.01, 0.01])


@pytest.mark.parametrize("values", [[-2.0] * 4, [-2.0, -2.00005, -2.0001, -2.00015]])
def test_a_flat_or_worsening_negative_objective_saturates_too(values):
    _, optimizer = _optimizer()
    for value in values:
        optimizer.end_epoch(value)
    assert optimizer.lr == pytest.approx(0.01)


def test_state_continues_exactly():
    _, first = _optimizer()
    for value in [0.5, 0.5]:
        first.end_epoch(value)
    _, second = _optimizer()
    second.load_state_dict(first.state_dict())
    for optimizer in (first, second):
        optimizer.end_epoch(0.5)
    assert first.lr == second.lr == pytest.approx(0.01)


def test_gradients_are_clipped_to_the_norm():
    weight, optimizer = _optimizer(clip_norm=1.0, momentum=0.0, weight_decay=0.0)
    weight.grad = torch.tensor([3.0, 4.0])
    optimizer.step()
    assert torch.allclose(weight, torch.tensor([1 - 0.06, 1 - 0.08]))
    assert weight.grad is None
