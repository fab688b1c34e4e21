"""A signal ends a block with one line and the status of a shell."""

import os
import signal

import pytest

from retdm.console import Stopped
from retdm.onray.heeding import heeding_signals


def catching_every_error(sent):
    with heeding_signals():
        try:
            os.kill(os.getpid(), sent)
        except Exception:
            pytest.fail("was caught")


def ending_slowly(*sent):
    first, second = sent
    with heeding_signals():
        try:
            os.kill(os.getpid(), first)
        finally:
            os.kill(os.getpid(), second)
            pytest.fail("was not ended")


def failing():
    with heeding_signals():
        raise ZeroDivisionError


@pytest.mark.parametrize("sent, status", [(signal.SIGTERM, 143), (signal.SIGINT, 130)])
def test_a_signal_ends_the_block_through_what_catches_every_error(sent, status):
    before = signal.getsignal(sent)
    with pytest.raises(Stopped, match=f"^stopped by {sent.name}$") as stopped:
        catching_every_error(sent)
    assert stopped.value.status == status
    assert signal.getsignal(sent) is before


def test_a_second_signal_ends_what_still_ends():
    with pytest.raises(Stopped, match=r"^stopped by SIGTERM$") as stopped:
        ending_slowly(signal.SIGINT, signal.SIGTERM)
    assert stopped.value.status == 143


def test_an_end_without_a_signal_is_left_alone():
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ZeroDivisionError):
        failing()
    assert signal.getsignal(signal.SIGTERM) is before
