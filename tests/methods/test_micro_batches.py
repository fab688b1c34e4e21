"""A number of micro-batches gives the same steps on any number of ranks that share them."""

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from retdm import comm
from retdm.bank import Bank, LabelSets
from retdm.data.batch import Batch
from retdm.data.plan import Cut, parts_of
from retdm.methods import METHODS, MicroBatches, StepContext
from tests.methods.test_across_ranks import (
    ALL,
    LABELS,
    READINGS,
    SAMPLES,
    WIDTH,
    Scale,
    images_of,
    table,
)

TOTAL = 4
SIZES = [17, 16, 9, 3, 13]  # 3 over 4: a micro-batch has nothing but padding


def net():
    """With all that looks beyond an image: batch statistics and dropout."""
    return nn.Sequential(
        Scale(),
        nn.Conv2d(3, 4, 3),
        nn.BatchNorm2d(4),
        nn.Tanh(),
        nn.Flatten(),
        nn.Dropout(0.3),
        nn.Linear(4 * 36, WIDTH),
    )


def batch_of(order, rank, world, total):
    parts = []
    for part in parts_of(rank, world_size=world, parts=total):
        cut = Cut(batch_size=len(order), part=part, parts=total, min_rows=2)
        first, own, padded = cut.span(len(order))
        rows = order[(first + np.arange(padded)) % len(order)]
        parts.append((torch.from_numpy(rows), torch.arange(padded) < own))
    indices = torch.cat([rows for rows, _ in parts])
    valid = torch.cat([valid for _, valid in parts])
    return Batch(images_of(indices), table()[indices], indices, valid, len(order))


def train(rank, world, name, total=TOTAL, freeze=()):
    torch.manual_seed(0)
    settings = READINGS[name]
    method = METHODS[settings.method].make(settings, net(), LABELS).double()
    image = method.parts["image"]
    for part in freeze:
        method.parts[part].eval().requires_grad_(False)
    module = DistributedDataParallel(method, forward_sync_buffers=False) if world > 1 else method
    optimizer = torch.optim.SGD(
        [p for p in method.parameters() if p.requires_grad], lr=0.05, momentum=0.9
    )
    sets, bank = LabelSets(table()), Bank(11, WIDTH, dtype=torch.float64)
    micro, logs, start = MicroBatches(total), [], 0
    for step, size in enumerate(SIZES):
        order = (np.arange(start, start + size) * 7) % SAMPLES
        start += size
        context = StepContext(ALL & method.losses, bank, step > 0, sets, 5, step, micro)
        optimizer.zero_grad()
        output = module(batch_of(order, rank, world, total), context)
        output.total.backward()
        optimizer.step()
        if output.rows is not None:
            bank.push(output.rows, step=step)
        logs.append({name: comm.all_sum(value) for name, value in output.parts.items()})
    statistics = micro.state(image)
    micro.average(image)
    weights = {k: v for k, v in method.state_dict().items() if "num_batches" not in k}
    return {"logs": logs, "weights": weights, "bank": bank.state_dict(), "each": statistics}


@pytest.mark.parametrize("name", ["default", "bce", "center, multi hot", "c2ae", "cnn-rnn"])
def test_steps_are_the_same_on_any_number_of_ranks(ranks, name):
    wanted = ranks(TOTAL).run(train, TOTAL, name)[0]
    assert len(wanted["each"]) == TOTAL
    assert not torch.equal(wanted["each"][0], wanted["each"][1])
    alone = train(0, 1, name)
    torch.testing.assert_close(alone, wanted, rtol=1e-10, atol=1e-12)
    for world in (2, 3):
        for found in ranks(world).run(train, world, name):
            torch.testing.assert_close(found, wanted, rtol=1e-10, atol=1e-12)


def test_another_number_of_micro_batches_is_another_run():
    """Guards the test above: statistics and dropout do depend on the micro-batches."""
    with pytest.raises(AssertionError):
        torch.testing.assert_close(train(0, 1, "bce", 2)["logs"], train(0, 1, "bce", 4)["logs"])


def test_a_frozen_image_net_learns_nothing_from_any_micro_batch():
    frozen = ("image", "classifier")
    one, four = (train(0, 1, "default", total, frozen) for total in (1, 4))
    assert torch.equal(four["each"], one["each"].expand(4, -1))
    torch.testing.assert_close(four["weights"], one["weights"], rtol=1e-10, atol=1e-12)


def held_bytes(total):
    """Of what the forward pass keeps for the backward pass."""
    seen = {}

    def keep(tensor):
        seen[tensor.data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    model, micro = net(), MicroBatches(total)
    images = images_of(torch.arange(32))
    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        micro.embed(model, images, seed=0, step=0)
    return sum(seen.values())


def test_activations_of_micro_batches_are_not_held_together():
    assert held_bytes(4) < held_bytes(1) / 4


def statistics_of(rank):
    layer = nn.BatchNorm1d(2)
    layer.running_mean += torch.tensor([0.1, 1 / 3]) * (rank + 1)
    layer.num_batches_tracked.fill_(7)
    return layer


def averaged(rank):
    layer = statistics_of(rank)
    MicroBatches().average(layer)
    MicroBatches().average(nn.Linear(1, 1))
    return layer.running_mean, int(layer.num_batches_tracked)


def test_statistics_are_averaged(ranks):
    for mean, batches in ranks(3).run(averaged):
        torch.testing.assert_close(mean, torch.tensor([0.2, 2 / 3]))
        assert batches == 7


def gathered(rank):
    return MicroBatches().state(statistics_of(rank))


def given_back(rank, rows, total):
    layer, micro = nn.BatchNorm1d(2), MicroBatches(total)
    micro.load_state(layer, rows)
    return micro.state(layer), layer.running_mean


def test_each_micro_batch_gets_its_own_statistics_back_to_the_bit_and_others_their_mean(ranks):
    rows = ranks(2).run(gathered)[0]
    for world in (1, 2):
        for found, _ in ranks(world).run(given_back, rows, 2):
            assert torch.equal(found, rows)
    own = torch.tensor([0.1, 1 / 3])
    assert torch.equal(ranks(2).run(given_back, rows, 2)[1][1], own * 2)
    for found, mean in ranks(3).run(given_back, rows, 3):
        torch.testing.assert_close(mean, own * 1.5)
        torch.testing.assert_close(found, rows.mean(0).expand(3, -1))
