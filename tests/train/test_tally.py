"""Sums over an epoch, taken up again on the same and on other numbers of ranks."""

import torch

from retdm.train.tally import EpochTally

STEPS = [{"bce": 1.0, "total": 3.0}, {"bce": 2.0, "total": 5.0}, {"bce": 4.0, "total": 9.0}]


def _add(tally, steps, rank, world):
    """Rank r's shares of the same sums, whatever the number of ranks is."""
    for step in steps:
        shares = {name: torch.tensor(value / world) for name, value in step.items()}
        tally.add(shares, images=8)


def _begin(rank, world):
    tally = EpochTally()
    _add(tally, STEPS[:1], rank, world)
    tally.close_line()
    _add(tally, STEPS[1:2], rank, world)
    return tally.state_dict()


def _go_on(rank, world, state):
    tally = EpochTally()
    tally.load_state_dict(state)
    _add(tally, STEPS[2:], rank, world)
    line = tally.close_line()
    return line, tally.summary().means, tally.images


def test_counting_goes_on_with_the_ranks_there_are(ranks):
    for before in (1, 2, 3):
        state = ranks(before).run(_begin, before)[0]
        for after in (1, 2, 3):
            line, means, images = ranks(after).run(_go_on, after, state)[-1]
            assert images == 24
            torch.testing.assert_close(line, {"bce": 3.0, "total": 7.0})
            torch.testing.assert_close(means, {"bce": 7 / 3, "total": 17 / 3})


def test_a_skipped_step_counts_for_no_mean():
    tally = EpochTally()
    _add(tally, STEPS[:2], 0, 1)
    tally.skip(images=8)
    assert tally.close_line() == {"bce": 1.5, "total": 4.0}
    summary = tally.summary()
    assert (summary.means, summary.images, tally.steps) == ({"bce": 1.5, "total": 4.0}, 24, 2)


def test_large_finite_parts_have_a_finite_mean():
    tally, large = EpochTally(), torch.tensor(3e38)
    for _ in range(3):
        tally.add({"total": large}, images=8)
    assert tally.close_line() == {"total": large.item()}
