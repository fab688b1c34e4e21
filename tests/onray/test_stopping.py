"""A program that is told to stop waits for the checkpoints of its runs, and for nothing else."""

import os
import signal
import threading

import pytest
import ray.exceptions

from retdm.console import Stopped
from retdm.onray import stopping
from retdm.onray.stopping import Ear, Stoppable
from retdm.onray.words import _ANSWER_S, Words


@pytest.fixture(autouse=True)
def quick(words, monkeypatch):
    monkeypatch.setattr(stopping, "_LOOK_EVERY_S", 0.01)


def _signal(number=signal.SIGTERM):
    os.kill(os.getpid(), number)


def _train(run, *, step):
    """As a run's rank 0 does, in a thread: wait for the word, take a step, answer."""
    ear, heard = Ear(run), threading.Event()

    def work():
        while not ear.told:
            heard.wait(0.01)
        ear.left(step)

    threading.Thread(target=work, daemon=True).start()


@pytest.mark.parametrize(("number", "status"), [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_waits_for_the_checkpoint_and_names_its_step(words, number, status):
    _train("s3://b/one", step=7)
    with Stoppable() as stoppable:
        _signal(number)
        with pytest.raises(
            Stopped,
            match=f"^stopped by {number.name} at step 7; the checkpoint is written; the same "
            "command goes on$",
        ) as caught:
            stoppable.wait(lambda: ["s3://b/one"])
    assert caught.value.status == status


def test_a_signal_waits_for_every_run_that_trains(words):
    for step, run in enumerate(("one", "two"), 3):
        _train(run, step=step)
    with Stoppable() as stoppable:
        _signal()
        with pytest.raises(
            Stopped,
            match=r"^stopped by SIGTERM; 2 runs wrote a checkpoint \(steps 3, 4\); the same",
        ):
            stoppable.wait(lambda: ["one", "two"])


def test_a_signal_while_nothing_trains_ends_soon(monkeypatch):
    monkeypatch.setattr(stopping, "_HEARD_S", 0.05)
    with Stoppable() as stoppable:
        _signal()
        with pytest.raises(Stopped, match=r"^stopped by SIGTERM; nothing was training; "):
            stoppable.wait(lambda: ["one"])


def test_a_run_that_heard_is_waited_for_however_long_its_step_is(words, monkeypatch):
    monkeypatch.setattr(stopping, "_HEARD_S", 0.0)
    words["heard one"] = ""
    later = threading.Timer(0.5, words.__setitem__, ("left one", "9"))
    later.start()
    with Stoppable() as stoppable:
        _signal()
        with pytest.raises(Stopped, match=r"^stopped by SIGTERM at step 9; "):
            stoppable.wait(lambda: ["one"])


def test_a_second_signal_ends_at_once(words):
    words["heard one"] = ""
    with Stoppable() as stoppable:
        _signal()
        later = threading.Timer(0.2, _signal)
        later.start()
        with pytest.raises(Stopped, match=r"^stopped by SIGTERM at once; the same comm"):
            stoppable.wait(lambda: ["one"])


def test_a_run_that_ends_by_itself_after_a_signal_has_ended(words):
    with Stoppable() as stoppable:
        _signal()
        stoppable.ended("one", "well")
        assert stoppable.wait(lambda: ["one"]) == "well"
        with pytest.raises(Stopped, match="nothing was training"):
            stoppable.wait(lambda: [])


@pytest.mark.parametrize("deaf", ["put", "get"])
def test_a_signal_while_rays_head_is_away_ends_with_the_reason(monkeypatch, deaf):
    def no_answer(*_):
        raise ray.exceptions.RpcError("Timed out while waiting for GCS to become available.")

    monkeypatch.setattr(stopping.Words, deaf, no_answer)
    with Stoppable() as stoppable:
        _signal()
        with pytest.raises(
            Stopped,
            match=r"^stopped by SIGTERM; Ray's head does not answer, so the runs could not be "
            r"told or waited for; the same command goes on from the latest checkpoint$",
        ) as caught:
            stoppable.wait(lambda: ["one"])
    assert caught.value.status == 143


def test_words_wait_for_rays_head_no_longer_than_its_limit():
    waits = []

    class Head:
        def internal_kv_put(self, *_, timeout):
            waits.append(timeout)

        def internal_kv_get(self, *_, timeout):
            waits.append(timeout)

    words = object.__new__(Words)
    words._store, words._job = Head(), "01"
    words.put("stop")
    assert words.get("stop") is None
    assert waits == [_ANSWER_S] * 2


def test_handlers_of_before_come_back():
    before = signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)
    with Stoppable():
        assert signal.getsignal(signal.SIGTERM) != before[0]
    assert (signal.getsignal(signal.SIGTERM), signal.getsignal(signal.SIGINT)) == before
