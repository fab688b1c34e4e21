"""The bank against a plain list, and what a checkpoint keeps of it."""

import io

import pytest
import torch

from retdm.bank import Bank
from retdm.errors import CheckpointError


def rows(start, count):
    values = torch.arange(start, start + count, dtype=torch.float32)
    return values[:, None].expand(-1, 2), values.long()


def held(bank, step=0):
    view = bank.view(step)
    return sorted(view.set_ids[view.set_ids >= 0].tolist())


@pytest.mark.parametrize("size", [0, 1, 5, 8])
def test_holds_the_newest_rows(size):
    bank, start, everything = Bank(size, 2), 0, []
    for step, count in enumerate([3, 4, 0, 11, 2]):
        bank.push(*rows(start, count), step=step)
        everything += range(start, start + count)
        start += count
        assert held(bank) == everything[-size:] if size else held(bank) == []
        assert len(bank) == min(len(everything), size)
    view = bank.view(9)
    assert view.embeddings[:, 0].tolist() == view.set_ids.tolist()


def test_gradients_are_not_kept():
    bank = Bank(3, 2)
    x = torch.ones(2, 2, requires_grad=True)
    bank.push(x * 2, torch.tensor([0, 1]), step=0)
    assert not bank.view(0).embeddings.requires_grad


def test_old_rows_are_not_offered():
    bank = Bank(6, 2, max_age=2)
    bank.push(*rows(0, 2), step=10)
    bank.push(*rows(2, 2), step=12)
    assert held(bank, step=12) == [0, 1, 2, 3]
    assert held(bank, step=13) == [2, 3]
    assert held(bank, step=15) == []


def through_a_file(state):
    file = io.BytesIO()
    torch.save(state, file)
    file.seek(0)
    return torch.load(file, weights_only=True)


def test_survives_two_checkpoints():
    bank, restored = Bank(5, 2), Bank(5, 2)
    for step in range(4):
        fresh = Bank(5, 2)
        fresh.load_state_dict(through_a_file(restored.state_dict()))
        restored = fresh
        for one in (bank, restored):
            one.push(*rows(3 * step, 3), step=step)
        torch.testing.assert_close(restored.state_dict(), bank.state_dict(), rtol=0, atol=0)


def test_restoring_copies():
    bank, other = Bank(3, 2), Bank(3, 2)
    bank.push(*rows(0, 2), step=0)
    other.load_state_dict(bank.state_dict())
    bank.push(*rows(7, 3), step=1)
    assert held(other) == [0, 1]


@pytest.mark.parametrize("other", [Bank(4, 2), Bank(3, 5)])
def test_another_size_is_an_error(other):
    with pytest.raises(CheckpointError, match=r"keep bank\.size and model\.embedding"):
        Bank(3, 2).load_state_dict(other.state_dict())


def test_an_empty_state_is_an_error():
    with pytest.raises(CheckpointError, match="embeddings of shape nothing"):
        Bank(3, 2).load_state_dict({})
