"""What a reader may do with a hostile input: read it, or refuse it, soon and in little memory."""

import contextlib
import re
import resource
import signal
import time
import traceback
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from retdm.errors import RetdmError

SECONDS = 5.0
"""Of processor time for one input, which other programs on the machine do not take."""
ADDRESS_BYTES = 4 << 30
"""Of address space for one input: what asks for more is refused, not killed with the machine."""
_STATUS, _CLEAR = Path("/proc/self/status"), Path("/proc/self/clear_refs")


class Hang(BaseException):
    """Not an `Exception`: no reader may take it for damage."""


@dataclass(frozen=True)
class Outcome:
    """What came of one input."""

    refused: bool
    finding: str
    """What should not have happened; "" if nothing."""
    seconds: float
    bytes: int
    """Memory taken at the peak, above that before."""


def attempt(read: Callable[[bytes], object], content: bytes, *, peak_bytes: int) -> Outcome:
    """Give an input to a reader and look at what it does.

    Args:
        read: May return, or raise a `RetdmError`.
        content: The input.
        peak_bytes: Most memory that it may take.
    """
    _CLEAR.write_text("5")  # the peak counts from here
    before, started = _memory("VmRSS"), time.process_time()
    refused, finding = False, ""
    try:
        with _limits():
            read(content)
    except RetdmError as error:
        refused = True
        finding = "" if str(error).strip() else "an error that says nothing"
    except (Exception, Hang):
        finding = traceback.format_exc(limit=-30)
    seconds, taken = time.process_time() - started, max(_memory("VmHWM") - before, 0)
    if not finding and seconds > SECONDS:
        finding = f"took {seconds:.1f} s"
    if not finding and taken > peak_bytes:
        finding = f"took {taken >> 20} MiB"
    return Outcome(refused, finding, seconds, taken)


@contextlib.contextmanager
def _limits() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    before = signal.signal(signal.SIGPROF, _too_long)
    # Twice the time that is allowed: what is a little too slow should be measured, not broken off.
    signal.setitimer(signal.ITIMER_PROF, 2 * SECONDS)
    resource.setrlimit(resource.RLIMIT_AS, (_memory("VmSize") + ADDRESS_BYTES, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _too_long(*_: object) -> None:
    raise Hang


def _memory(field: str) -> int:
    found = re.search(rf"^{field}:\s+(\d+) kB$", _STATUS.read_text(), re.MULTILINE)
    assert found is not None
    return int(found[1]) << 10
