"""How long a call that fails is repeated.

What may pass (a broken or silent connection, a busy server) is repeated after growing random
pauses until nothing has succeeded for RETDM_S3_PATIENCE_S. The last attempt may begin at that
moment, and a connection on which nothing arrives ends after RETDM_S3_STALL_S, so a permanent
fault is reported after the sum of both at the latest. (A connection on which single bytes keep
trickling is none: only silence is.) Nothing below this repeats anything.

Refused credentials are loaded anew, because they expire and are replaced while a program runs,
and the call is repeated a few times within seconds: wrong ones should be reported at once.
"""

import logging
import random
import threading
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, TypeVar

from retdm.counts import COUNTS
from retdm.storage import limits, s3_client
from retdm.storage.s3_errors import is_changed, passes, refuses

if TYPE_CHECKING:
    from mypy_boto3_s3 import S3Client

T = TypeVar("T")
_REFUSALS = 3
_FIRST_PAUSE_S = 0.2
_LONGEST_PAUSE_S = 10.0
_LOUD_AFTER_S = 5.0
"""Shorter disturbances are everyday life of a large store, and would only fill the log."""
_random = random.SystemRandom()  # draws nothing from the generator of the training program
_log = logging.getLogger(__name__)


class Patience:
    """The clock of one operation, such as a download, which may consist of several calls.

    Threads share it: a call that succeeds in one of them gives all of them time again, and once
    one has failed for good the others fail too instead of waiting.

    Args:
        url: Of the object, for the log.

    Raises:
        StorageError: If one of the two variables is no number.
    """

    def __init__(self, url: str) -> None:
        self._url = url
        self._patience_s, self._stall_s = limits.patience_s(), limits.stall_s()
        self._good = time.monotonic()
        self._failures = 0
        self._over = threading.Event()

    def call(self, function: Callable[["S3Client"], T]) -> T:
        """What `function` returns, called again as long as that makes sense.

        Raises:
            Exception: What `function` raised last.
        """
        failures = refusals = 0
        s3_client.client()  # to make the first one takes a while, which is not the server's fault
        if not self._failures:
            self._good = time.monotonic()
        while True:
            client = s3_client.client()
            try:
                result = function(client)
            except Exception as error:
                self._failures += 1
                left_s = self._good + self._patience_s - time.monotonic()
                loud = time.monotonic() - self._good > _LOUD_AFTER_S
                if refuses(error) and refusals < _REFUSALS:
                    pause_s, loud = _pause_s(refusals), False
                    refusals += 1
                    s3_client.forget(client)
                elif passes(error) and left_s > 0:
                    pause_s = min(_pause_s(failures), left_s)
                    failures += 1
                else:
                    # An object that was replaced is asked for once more, from its beginning.
                    if not is_changed(error):
                        self._over.set()
                    raise
                if self._over.is_set():
                    raise
                COUNTS.add("s3_retries")
                _log.log(
                    logging.WARNING if loud else logging.DEBUG,
                    "%s: %s; trying again in %.1f s",
                    *(self._url, error, pause_s),
                )
                self._over.wait(pause_s)
            else:
                self._good, self._failures = time.monotonic(), 0
                return result

    def tried(self) -> str:
        """How often and how long, for the message of a failure that may pass."""
        times = "once" if self._failures == 1 else f"{self._failures} times"
        return (
            f"tried {times} in {time.monotonic() - self._good:.1f} s; {limits.PATIENCE} is "
            f"{self._patience_s:g}, {limits.STALL} is {self._stall_s:g}"
        )


def _pause_s(repeats: int) -> float:
    """Anything between 0 and a limit that doubles, so that many clients do not come at once."""
    return _random.uniform(0, min(_FIRST_PAUSE_S * 2.0 ** min(repeats, 10), _LONGEST_PAUSE_S))
