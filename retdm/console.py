"""What every command line program shares: exit codes, log lines and progress bars."""

import argparse
import logging
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from typing import NoReturn, TypeVar

from tqdm import tqdm

from retdm.errors import RetdmError

T = TypeVar("T")
_LINE_EVERY_S = 5.0
_LAST: list[Callable[[int], None]] = []


class Failed(Exception):
    """Ends a program with one line and status 1: no setting is wrong, no traceback would help."""


class Stopped(Exception):
    """Ends a program that a signal told to stop, with one line and a shell's status for it."""

    def __init__(self, text: str, sent: signal.Signals) -> None:
        super().__init__(text, sent)
        self.text = text
        self.status = 128 + sent
        """143 for SIGTERM, 130 for SIGINT."""

    def __str__(self) -> str:
        return self.text


def at_end(last: Callable[[int], None]) -> None:
    """Have `run` call this with the program's status when all is done; it may end the process."""
    if last not in _LAST:
        _LAST.append(last)


def run(main: Callable[[], int]) -> int:
    """Call `main` and turn a deliberate error into one line on stderr and exit status 2.

    Returns:
        What `main` returned; 2 after a `RetdmError`; 1 after `Failed`; 143 after SIGTERM where
        `main` heeds it; 130 after Ctrl-C. Bugs keep their traceback.
    """
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    quiet_clients()
    status = _status_of(main)
    for last in _LAST:
        last(status)
    return status


def _status_of(main: Callable[[], int]) -> int:
    try:
        status = main()
        sys.stdout.flush()  # or a closed pipe would show only when Python exits
        return status
    except (RetdmError, Failed) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1 if isinstance(error, Failed) else 2
    except Stopped as stopped:
        print(stopped, file=sys.stderr)
        return stopped.status
    except BrokenPipeError:
        # The reader of our output has seen enough (`... | head`); Python would complain at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        return 130


def counted(number: int, what: str) -> str:
    """A number and what it counts: "1 fault", "2 faults"."""
    return f"{number} {what}" if number == 1 else f"{number} {what}s"


def plain(text: str) -> str:
    r"""Text of strangers for a terminal, which would obey what control characters say.

    Example:
        >>> plain("a\x1b[2Jb\n")
        'a\\x1b[2Jb\\n'
    """
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)


def count(text: str) -> int:
    """A whole number from 1 on as it is typed on a command line."""
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number from 1 on")
    return int(text)


def add_model(parser: argparse.ArgumentParser) -> None:
    """Let a program be given a trained model: which, and which checkpoint of it."""
    parser.add_argument(
        "model", metavar="RUN_OR_BUNDLE", help="folder or URL of a trained run or of a bundle"
    )
    add_checkpoint(parser)


def add_checkpoint(parser: argparse.ArgumentParser) -> None:
    """Let a program be told which checkpoint of a run it is to take."""
    parser.add_argument(
        "--checkpoint", default="best", metavar="NAME", help='"best" (default), "latest" or a name'
    )


def quiet_clients() -> None:
    """Keep S3's client libraries from reporting credentials and requests at INFO."""
    for noisy in ("botocore", "boto3", "s3transfer", "urllib3"):
        logging.getLogger(noisy).setLevel(logging.WARNING)


def progress(items: Iterable[T], *, total: int, label: str, unit: str) -> Iterator[T]:
    """Yield `items` behind a progress bar on stderr.

    On a terminal this is a live bar. Elsewhere (a job log, CI) a bar that rewrites its line is
    unreadable, so one line is written about every five seconds and one at the end.
    """
    if sys.stderr.isatty():
        yield from tqdm(items, total=total, desc=label, unit=f" {unit}", dynamic_ncols=True)
        return
    started = last = time.monotonic()
    done = 0
    for item in items:
        yield item
        done += 1
        now = time.monotonic()
        if now - last >= _LINE_EVERY_S and done < total:
            last = now
            print(bar_line(label, done, total, now - started, unit), file=sys.stderr)
    print(bar_line(label, done, total, time.monotonic() - started, unit), file=sys.stderr)


class ByteBar:
    """Progress of one file in bytes, with rate and rest time; a context manager.

    A live bar on a terminal, else a line about every five seconds and one at the end.
    """

    def __init__(self, label: str, total: int, *, done: int = 0) -> None:
        self._label, self._total = label, total
        self._done = self._first = done
        self._started = self._last = time.monotonic()
        self._bar: tqdm[NoReturn] | None = None
        if sys.stderr.isatty():
            self._bar = tqdm(
                total=total,
                initial=done,
                desc=label,
                unit="B",
                unit_scale=True,
                unit_divisor=1024,
                dynamic_ncols=True,
            )

    def at(self, done: int) -> None:
        """Say how many bytes are there; fewer than before means that the file starts over."""
        now = time.monotonic()
        if done < self._done:
            self._first, self._started = done, now
        self._done = done
        if self._bar is not None:
            self._bar.update(done - self._bar.n)
        elif now - self._last >= _LINE_EVERY_S:
            self._last = now
            self._print(now)

    def _print(self, now: float) -> None:
        rate = (self._done - self._first) / max(now - self._started, 1e-9)
        print(byte_line(self._label, self._done, self._total, rate), file=sys.stderr)

    def __enter__(self) -> "ByteBar":
        return self

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.close()
        else:
            self._print(time.monotonic())


def byte_line(label: str, done: int, total: int, rate: float) -> str:
    """One printed line of a `ByteBar`; `rate` is in bytes a second.

    Example:
        >>> byte_line("train.zip", 5 << 20, 20 << 20, 1 << 20)
        'train.zip [#####               ] 5.0/20.0 MiB, 1.0 MiB/s, 0:15 left'
    """
    filled = 20 * done // max(total, 1)
    counts = f"{done / 2**20:.1f}/{total / 2**20:.1f} MiB"
    line = f"{label} [{'#' * filled}{' ' * (20 - filled)}] {counts}"
    if rate > 0:
        line += f", {rate / 2**20:.1f} MiB/s"
        if done < total:
            minutes, seconds = divmod(round((total - done) / rate), 60)
            line += f", {minutes}:{seconds:02} left"
    return line


def bar_line(label: str, done: int, total: int, elapsed_s: float, unit: str) -> str:
    """One printed line of progress: label, bar, counts, rate.

    Example:
        >>> bar_line("packing", 5, 10, 2.0, "photo")
        'packing [##########          ] 5/10 photo, 2.5/s'
    """
    filled = 20 * done // max(total, 1)
    rate = f", {done / elapsed_s:.1f}/s" if elapsed_s > 0 else ""
    return f"{label} [{'#' * filled}{' ' * (20 - filled)}] {done}/{total} {unit}{rate}"
