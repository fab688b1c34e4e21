"""The bank against a plain list, and what a checkpoint keeps of it."""

import io

import pytest
import torch

from retdm.bank import Bank, BankRows, Drift
from retdm.errors import CheckpointError


def rows(start, count):
    values = torch.arange(start, start + count, dtype=torch.float32)
    return BankRows(values[:, None].expand(-1, 2), values.long(), values.long() + 100)


def held(bank, step=0):
    view = bank.view(step)
    return sorted(view.set_ids[view.set_ids >= 0].tolist())


@pytest.mark.parametrize("size", [0, 1, 5, 8])
def test_holds_the_newest_rows(size):
    bank, start, everything = Bank(size, 2), 0, []
    for step, count in enumerate([3, 4, 0, 11, 2]):
        bank.push(rows(start, count), step=step)
        everything += range(start, start + count)
        start += count
        assert held(bank) == everything[-size:] if size else held(bank) == []
        assert len(bank) == min(len(everything), size)
    view = bank.view(9)
    assert view.embeddings[:, 0].tolist() == view.set_ids.tolist()
    held_rows = bank.newest(size)
    assert held_rows.set_ids.tolist() == everything[len(everything) - size :]
    assert [n - 100 for n in held_rows.samples.tolist()] == held_rows.set_ids.tolist()
    newest = bank.newest(3)
    assert newest.set_ids.tolist() == everything[-min(3, size) :] if size else not len(newest[0])
    assert [n - 100 for n in newest.samples.tolist()] == newest.set_ids.tolist()


def test_its_age_is_that_of_the_oldest_row():
    bank = Bank(5, 2)
    assert bank.age(9) == 0
    for step, count in enumerate([3, 1, 1]):  # full, and nothing lost
        bank.push(rows(0, count), step=step)
    assert bank.age(3) == 3
    bank.push(rows(0, 2), step=3)  # a row of the first step is left
    assert bank.age(4) == 4
    bank.push(rows(0, 1), step=4)
    assert bank.age(5) == 4
    bank.push(rows(0, 7), step=5)
    assert bank.age(6) == 1


def test_gradients_are_not_kept():
    bank = Bank(3, 2)
    x = torch.ones(2, 2, requires_grad=True)
    bank.push(BankRows(x * 2, torch.tensor([0, 1]), torch.tensor([5, 6])), step=0)
    assert not bank.view(0).embeddings.requires_grad


def test_old_rows_are_not_offered():
    bank = Bank(6, 2, max_age=2)
    bank.push(rows(0, 2), step=10)
    bank.push(rows(2, 2), step=12)
    assert held(bank, step=12) == [0, 1, 2, 3]
    assert held(bank, step=13) == [2, 3]
    assert held(bank, step=15) == []


def test_drift_is_that_of_the_newest_row_of_each_image():
    rng, bank = torch.Generator().manual_seed(3), Bank(5, 4)
    stored, distances, ages = [], [], []
    for step in range(12):
        samples = torch.randperm(6, generator=rng)[:2]
        embeddings = torch.randn(2, 4, generator=rng)
        for sample, new in zip(samples.tolist(), embeddings, strict=True):
            earlier = [(at, old) for at, known, old in stored[-5:] if known == sample]
            if earlier:
                at, old = earlier[-1]
                distances.append(((new - old).norm() / new.norm()).item())
                ages.append(step - at)
        stored += [(step, *one) for one in zip(samples.tolist(), embeddings, strict=True)]
        bank.push(BankRows(embeddings, samples, samples), step=step)
    drift = bank.take_drift()
    assert drift.images == len(ages) > 5
    assert drift.age == pytest.approx(sum(ages) / len(ages))
    assert drift.distance == pytest.approx(sum(distances) / len(ages))
    assert bank.take_drift() == Drift(0, 0, 0)


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
            one.push(rows(3 * step, 3), step=step)
        torch.testing.assert_close(restored.state_dict(), bank.state_dict(), rtol=0, atol=0)


def test_restoring_copies():
    bank, other = Bank(3, 2), Bank(3, 2)
    bank.push(rows(0, 2), step=0)
    other.load_state_dict(bank.state_dict())
    bank.push(rows(7, 3), step=1)
    assert held(other) == [0, 1]


@pytest.mark.parametrize("other", [Bank(4, 2), Bank(3, 5)])
def test_another_size_is_an_error(other):
    with pytest.raises(CheckpointError, match=r"keep bank\.size and model\.embedding"):
        Bank(3, 2).load_state_dict(other.state_dict())


def test_an_empty_state_is_an_error():
    with pytest.raises(CheckpointError, match="embeddings of shape nothing"):
        Bank(3, 2).load_state_dict({})
