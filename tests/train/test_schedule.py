"""The learning rate falls tenfold on a plateau, to the floor and no further."""

import pytest
import torch

from retdm.config import OptimizerSettings, RunSettings
from retdm.train.schedule import StageOptimizer
from retdm.train.step import distributed


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
    norm = optimizer.backward((weight * torch.tensor([3.0, 4.0])).sum())
    assert norm == 5
    optimizer.step(norm)
    assert torch.allclose(weight, torch.tensor([1 - 0.06, 1 - 0.08]))
    assert weight.grad is None


def _clipped(rank, world):
    """Shares of the same loss on any number of ranks; their gradient is 5 times (3, 4) in all."""
    layer = torch.nn.Linear(2, 1, bias=False)
    torch.nn.init.ones_(layer.weight)
    settings = OptimizerSettings(clip_norm=1.0, momentum=0, weight_decay=0)
    optimizer = StageOptimizer([layer.weight], settings, lr=0.1)
    module = distributed(layer, torch.device("cpu"), RunSettings())
    # DDP takes the mean over ranks of what each rank multiplies by their number.
    factor = 5.0 if world == 1 else world * (2.0 + rank)
    norm = optimizer.backward(factor * module(torch.tensor([[3.0, 4.0]])).sum())
    optimizer.step(norm)
    return norm.item(), layer.weight.detach()


def test_what_is_clipped_is_the_gradient_of_the_global_batch(ranks):
    (norm, one), *others = [*ranks(1).run(_clipped, 1), *ranks(2).run(_clipped, 2)]
    assert norm == 25
    torch.testing.assert_close(one, torch.tensor([[1 - 0.06, 1 - 0.08]]))
    for its_norm, other in others:
        assert its_norm == norm
        assert torch.equal(other, one)


def test_a_discarded_gradient_moves_neither_weights_nor_momentum():
    weight, optimizer = _optimizer()
    for _ in range(2):
        optimizer.step(optimizer.backward(weight.square().sum()))
        before = weight.detach().clone(), optimizer.state_dict()["sgd"]["state"][0]
        momentum = before[1]["momentum_buffer"].clone()
    optimizer.backward(weight.sum())
    optimizer.discard()
    assert weight.grad is None
    assert torch.equal(weight, before[0])
    assert torch.equal(optimizer.state_dict()["sgd"]["state"][0]["momentum_buffer"], momentum)


def _gradient(scale, loss):
    weight, optimizer = _optimizer(loss_scale=scale)
    norm = optimizer.backward(loss(weight))
    return weight.grad, norm


@pytest.mark.parametrize("scale", [2.0**-10, 2.0**16])
def test_a_loss_scale_changes_no_bit_of_a_gradient(scale):
    def loss(weight):
        return (weight * torch.tensor([0.1, 1 / 3])).tanh().log().sum()

    torch.testing.assert_close(_gradient(scale, loss), _gradient(1.0, loss), rtol=0, atol=0)


def test_a_loss_scale_saves_what_is_too_small_for_a_number_on_the_way():
    def loss(weight):
        # Backwards: 1e-20, then 1e-50, which is none in float32, then 1e-20 again.
        return (weight * 1e30 * 1e-30 * 1e-20).sum()

    assert not _gradient(1.0, loss)[0].any()
    saved, norm = _gradient(2.0**60, loss)
    torch.testing.assert_close(saved, torch.full((2,), 1e-20))
    assert norm > 0
