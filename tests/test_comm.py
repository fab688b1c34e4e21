"""Collectives on one process and on several."""

import pytest
import torch

from retdm import comm


def test_alone_everything_is_the_identity():
    x = torch.ones(2, 3, requires_grad=True)
    assert comm.rank() == 0
    assert comm.world_size() == 1
    assert comm.gather_rows_autograd(x) is x
    assert torch.equal(comm.gather_rows(x), x)
    assert not comm.gather_rows(x).requires_grad
    assert torch.equal(comm.all_sum(x), x)
    assert comm.broadcast_object({"a": 1}) == {"a": 1}
    assert comm.any_rank([True, False]) == (True, False)
    comm.barrier()


def gathered(rank, world):
    rows = torch.tensor([[rank, 0.5], [rank, 1.5]])
    return {
        "place": (comm.rank(), comm.world_size()),
        "float": comm.gather_rows(rows).tolist(),
        "bool": comm.gather_rows(torch.tensor([rank == 0, True])).tolist(),
        "int": comm.gather_rows(torch.tensor([rank * 2**40])).tolist(),
        "sum": comm.all_sum(torch.tensor([1.0, rank])).tolist(),
        "object": comm.broadcast_object({"from": rank}),
        "any": comm.any_rank([rank == 1, False, True, rank == 0]),
        "kinds": {type(comm.gather_rows(rows)), type(comm.gather_rows_autograd(rows))},
    }


@pytest.mark.parametrize("world", [2, 3])
def test_rows_come_in_rank_order(ranks, world):
    for rank, found in enumerate(ranks(world).run(gathered, world)):
        assert found["place"] == (rank, world)
        assert found["float"] == [[r, half] for r in range(world) for half in (0.5, 1.5)]
        assert found["bool"] == [True, True] + [False, True] * (world - 1)
        assert found["int"] == [r * 2**40 for r in range(world)]
        assert found["sum"] == [world, sum(range(world))]
        assert found["object"] == {"from": 0}
        assert found["any"] == (True, False, True, True)
        assert found["kinds"] == {torch.Tensor}


def gradient(rank, world):
    x = torch.full((2, 2), float(rank), dtype=torch.float64, requires_grad=True)
    rows = comm.gather_rows_autograd(x)
    # A loss that differs by rank: the row's gradient is the sum over all ranks' losses.
    (rows * (rank + 1)).sum().backward()
    return x.grad.tolist()


@pytest.mark.parametrize("world", [2, 3])
def test_gradients_of_all_ranks_add_up(ranks, world):
    total = sum(range(1, world + 1))
    for found in ranks(world).run(gradient, world):
        assert found == [[total, total], [total, total]]


def summed_in_place(rank):
    x = torch.ones(2)
    comm.all_sum(x)
    return x.tolist()


def test_a_sum_leaves_its_argument(ranks):
    assert ranks(2).run(summed_in_place)[0] == [1, 1]
