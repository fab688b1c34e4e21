"""A step whose numbers are not finite changes nothing, on no rank, and says why."""

import pytest
import torch

from retdm import comm
from retdm.train.fault import Fault
from tests.methods.variants import VARIANTS
from tests.train.conftest import settings
from tests.train.steps import held, spoil, stepper_and_batches, whiten

pytestmark = pytest.mark.slow
STEPPED = sorted(set(VARIANTS) - {"lmmo-knn", "mlspl", "mlspl, hard"})


def _bits(one, other):
    torch.testing.assert_close(one, other, rtol=0, atol=0)


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize(
    ("how", "wrong"),
    [
        ("embedding", r"bce is nan, metric is nan, .*gradient_norm is nan"),
        ("gradient", "gradient_norm is nan"),
    ],
)
def test_a_skipped_step_changes_nothing_but_its_count(small, how, wrong, precision):
    stepper, (first, second, third) = stepper_and_batches(small(f"run.precision={precision}"))
    spoil(stepper, how)
    assert not isinstance(stepper.train(first), Fault)
    before = held(stepper)
    row = whiten(second, 2)
    fault = stepper.train(second)
    assert isinstance(fault, Fault)
    _bits(held(stepper), before)
    assert before["momentum"]
    assert before["bank"]["written"] == len(first.indices)
    assert (stepper.step, fault.step, stepper.stage_step) == (2, 2, 2)
    assert (fault.suspects, fault.images) == ([row], second.global_size)
    with pytest.raises(AssertionError, match=wrong):
        raise AssertionError(fault.wrong)
    assert not isinstance(stepper.train(third), Fault)
    assert stepper.bank.written == len(first.indices) + third.global_size


def test_weights_that_are_not_finite_make_every_image_a_suspect(small):
    stepper, (batch, *_) = stepper_and_batches(small())
    with torch.no_grad():
        stepper.method.parts["image"].embed[-1].bias[0] = torch.inf
    fault = stepper.train(batch)
    assert len(fault.suspects) == fault.images == batch.global_size


def _skip_on(rank, url, variant, culprit):
    """On two ranks: a good step, one with a bad image on rank `culprit`, a good one."""
    stepper, (first, second, third) = stepper_and_batches(settings(url, *VARIANTS[variant]))
    spoil(stepper, "embedding")
    stepper.train(first)
    before = held(stepper)
    row = whiten(second, 2) if rank == culprit else None
    fault = stepper.train(second)
    _bits(held(stepper), before)
    comm.barrier()
    assert not isinstance(stepper.train(third), Fault)
    return fault, row, [p.detach() for p in stepper.method.parameters()]


@pytest.mark.parametrize("variant", STEPPED)
def test_all_ranks_skip_what_one_of_them_cannot_use(ranks, shards, variant):
    (fault, _, one), (same, row, other) = ranks(2).run(_skip_on, shards, variant, 1)
    assert fault == same
    assert fault.suspects == [row]
    assert " is nan on rank 1" in fault.wrong
    assert fault.wrong.endswith("gradient_norm is nan")
    _bits(one, other)


def _gradient_on(rank, url, culprit):
    stepper, (first, *_) = stepper_and_batches(settings(url))
    spoil(stepper, "gradient")
    row = whiten(first, 2) if rank == culprit else None
    return stepper.train(first), row


def test_the_image_of_an_infinite_gradient_is_found_on_its_rank(ranks, shards):
    (fault, row), (same, _) = ranks(2).run(_gradient_on, shards, 0)
    assert fault == same
    # The other image of its turn had a part of its gradient from it, through the metric loss.
    assert row in fault.suspects
    assert len(fault.suspects) <= 2
    assert fault.wrong == "gradient_norm is nan"
