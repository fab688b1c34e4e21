"""A notice ends training on all ranks at the same step, with all that was done on storage."""

import pytest

from retdm.storage import open_store
from retdm.train.history import kept_checkpoints
from retdm.train.loop import train
from retdm.train.notice import Interrupted, Notice, heed
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.train.conftest import settings
from tests.train.test_resume import STAGES, _end, _same

PER_EPOCH = 3  # steps: 42 photos of the training split in batches of 16


class Told(LocalSession):
    """Has a notice from the n-th time on that it is asked."""

    def __init__(self, times, notice=Notice.STOP):
        self.times, self.given = times, notice
        self.left = []

    def notice(self):
        self.times -= 1
        return self.given if self.times < 0 else None

    def leaving(self, notice, step):
        self.left.append((notice, step))


def _newest(root):
    return kept_checkpoints(open_store(str(root)))[-1]


def _interrupted(config, root, session):
    with pytest.raises(Interrupted, match="interrupted by a notice") as caught:
        train(config, session, open_store(str(root)))
    assert session.left == [(caught.value.notice, caught.value.step)]
    return caught.value.step


def _heed(rank, notices):
    secured = []
    try:
        heed(Told(0, notices[rank]), 7, secure=lambda: secured.append(rank))
    except Interrupted as left:
        return secured, left.notice.value, left.step
    return secured, None, None


@pytest.mark.parametrize("notices", [(None, None), (Notice.PREEMPTION, None), tuple(Notice)])
def test_ranks_agree_on_a_notice_of_some(ranks, notices):
    found = ranks(2).run(_heed, notices)
    wanted = next((notice.value for notice in Notice if notice in notices), None)
    if wanted is None:
        assert found == [([], None, None)] * 2
    else:
        assert found == [([0], wanted, 7), ([1], wanted, 7)]


def test_one_process_heeds_its_own_notice():
    assert _heed(0, (None,)) == ([], None, None)
    assert _heed(0, (Notice.STOP,)) == ([0], "stop", 7)


@pytest.fixture(scope="module")
def unbroken(shards, tmp_path_factory):
    root = tmp_path_factory.mktemp("unbroken")
    train(settings(shards, *STAGES), LocalSession(), open_store(str(root)))
    return _end(root)


@pytest.mark.slow
@pytest.mark.parametrize("steps", [1, 2, PER_EPOCH])
def test_a_notice_leaves_a_checkpoint_of_the_step_behind_which_it_was_heard(
    unbroken, small, tmp_path, steps
):
    config = small(*STAGES)
    assert _interrupted(config, tmp_path, Told(steps - 1)) == steps
    newest = _newest(tmp_path)
    assert (newest.step, newest.epoch, newest.next_batch) == (steps, 0, steps)
    train(config, LocalSession(), open_store(str(tmp_path)))
    _same(_end(tmp_path), unbroken)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("stage", "steps", "asked"),
    # Once after each step and in each validation, of which stage 2 has none. In stage 3 there is
    # a bank, of whose rows the end of the epoch tells.
    [("1", PER_EPOCH, PER_EPOCH), ("3", 4 * PER_EPOCH, 4 * PER_EPOCH + 2)],
)
def test_a_notice_during_validation_leaves_a_checkpoint_of_the_whole_epoch(
    unbroken, small, tmp_path, stage, steps, asked
):
    config = small(*STAGES)
    assert _interrupted(config, tmp_path, Told(asked)) == steps
    newest = _newest(tmp_path)
    assert (newest.stage, newest.epoch, newest.next_batch) == (stage, 0, PER_EPOCH)
    train(config, LocalSession(), open_store(str(tmp_path)))
    _same(_end(tmp_path), unbroken)


@pytest.mark.slow
def test_a_notice_during_the_last_evaluation_leaves_a_run_that_goes_on_there(small, tmp_path):
    store = open_store(str(tmp_path))
    run = train(small(*STAGES), LocalSession(), store)
    run.session = Told(0)
    with pytest.raises(Interrupted):
        conclude(run)
    assert run.session.left == [(Notice.STOP, run.progress.step)]
    assert conclude(train(small(*STAGES), LocalSession(), store))["history"] == run.history


def _attempt(rank, url, root, told, times):
    config = settings(url, *STAGES, "data.batch_size=18")
    if rank != told:
        times = 1 << 30
    session = Told(times)
    if told is None:
        train(config, session, open_store(str(root)))
        return None
    return _interrupted(config, root, session)


@pytest.mark.slow
@pytest.mark.parametrize("told", [0, 1])
def test_a_notice_on_one_rank_stops_both_at_the_same_step(shards, ranks, tmp_path, told):
    assert ranks(2).run(_attempt, shards, tmp_path / "cut", told, 1) == [2, 2]
    assert _newest(tmp_path / "cut").step == 2
    ranks(2).run(_attempt, shards, tmp_path / "cut", None, 0)
    ranks(2).run(_attempt, shards, tmp_path / "whole", None, 0)
    _same(_end(tmp_path / "cut"), _end(tmp_path / "whole"))
