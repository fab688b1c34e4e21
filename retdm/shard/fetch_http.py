"""One large file by HTTP, in as many requests as it takes.

What has arrived is kept in `NAME.part` and continued from its end (Range); `NAME.tag` holds the
server's word for that version of the file (If-Range), so that two versions are never joined. A
server without ranges sends the file from its beginning again. Failures that may pass are met
with growing pauses for as long as something new arrives now and then.
"""

import logging
import random
import re
import ssl
import time
from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from pathlib import Path

import urllib3
from urllib3.exceptions import HTTPError, MaxRetryError, ReadTimeoutError, SSLError

from retdm.console import ByteBar
from retdm.errors import StorageError, TransientStorageError
from retdm.shard.fetch_connection import connections
from retdm.shown_url import shown_url

_CHUNK_BYTES = 1 << 18
_LONGEST_PAUSE_S = 30.0
_FEW = 3
"""Tries that are made however long each takes."""
_PASSING = {408, 425, 429, 500, 502, 503, 504, 520, 522, 524}
_CONTENT_RANGE = re.compile(r"bytes (\d+)-\d+/(\d+)")
_log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Patience:
    """How long failures that may pass are waited out."""

    give_up_s: float = 120.0
    """Since the last new byte."""
    stall_s: float = 20.0
    """A connection on which nothing arrives for so long is broken."""


class _PassingError(Exception):
    """What may be gone at the next request; the message says what it was."""

    def __init__(self, what: str, *, wait_s: float = 0.0) -> None:
        super().__init__(what)
        self.wait_s = wait_s


class _OtherSizeError(Exception):
    """The server offers a file of another size than the one wanted."""


def download(url: str, to: Path, *, size: int, patience: Patience) -> None:
    """Fetch `url` into the file `to`, which appears when it has all its `size` bytes.

    Raises:
        TransientStorageError: If nothing new arrived for the time of `patience`. What there is
            stays for the next call.
        StorageError: If the server refuses, or offers a file of another size; or the disk is
            full.
    """
    part = part_of(to)
    waiting = _Waiting(shown_url(url), size, patience)
    refused = False
    with (
        ByteBar(to.name, size, done=_bytes_of(part)) as bar,
        connections(url, stall_s=patience.stall_s) as pool,
    ):
        while (have := _bytes_of(part)) != size:
            if have > size:
                part.unlink()
                continue
            try:
                _request(pool, url, part, have, size, bar)
            except _PassingError as error:
                waiting.after(error, _bytes_of(part))
            except _OtherSizeError as error:
                # Once may be a page of a proxy in between.
                if refused:
                    raise StorageError(
                        f"{shown_url(url)}: {error}, the spec says {size}; the file was "
                        "replaced, or something between answers in its place: check the address, "
                        "and bytes and digest in the spec"
                    ) from None
                refused = True
                part.unlink(missing_ok=True)
            except OSError as error:
                raise StorageError(
                    f"{part}: {error.strerror or error}; check permissions and free space"
                ) from error
    part.replace(to)
    _tag(part).unlink(missing_ok=True)


def part_of(to: Path) -> Path:
    """Where the bytes of `to` gather until it is whole."""
    return to.with_name(f"{to.name}.part")


class _Waiting:
    """Pauses between requests, and when to stop."""

    def __init__(self, url: str, size: int, patience: Patience) -> None:
        self.url, self.size, self.patience = url, size, patience
        self.best = -1
        self.tries = 0
        self.since = time.monotonic()

    def after(self, error: _PassingError, have: int) -> None:
        """Wait for the next request, or give up; `have` bytes are there."""
        now = time.monotonic()
        if have > self.best:
            self.best, self.tries, self.since = have, 0, now
        self.tries += 1
        left = self.patience.give_up_s - (now - self.since)
        if left <= 0 and self.tries > _FEW:
            raise TransientStorageError(
                f"{self.url}: {error}; nothing new arrived for {now - self.since:.0f} s in "
                f"{self.tries} tries, {have} of {self.size} bytes are here; check the network, "
                "then run the same command again: it continues there"
            ) from None
        wait_s = min(_LONGEST_PAUSE_S, 0.25 * 2**self.tries) * random.uniform(0.5, 1.5)
        wait_s = min(max(wait_s, error.wait_s), max(left, 1.0))
        _log.warning("%s: %s; trying again in %.1f s", self.url, error, wait_s)
        time.sleep(wait_s)


def _request(
    pool: urllib3.PoolManager, url: str, part: Path, have: int, size: int, bar: ByteBar
) -> None:
    """Append what one request brings."""
    headers = {"Accept-Encoding": "identity", "User-Agent": "retdm"}
    if have:
        headers["Range"] = f"bytes={have}-"
        if _tag(part).exists():
            headers["If-Range"] = _tag(part).read_text()
    try:
        answer = pool.request("GET", url, headers=headers, preload_content=False)
    except ValueError as error:
        raise StorageError(
            f"{shown_url(url)}: the server points to something that is no address ({error}); look "
            "the file up on the site of the data set, and correct the address in the spec"
        ) from None
    except HTTPError as error:
        raise _explained(error, url) from None
    try:
        start = _start(answer, url, part, have, size)
        bar.at(start)
        with part.open("r+b" if start else "wb", buffering=0) as file:
            file.seek(start)
            while chunk := _chunk(answer, url):
                start += len(chunk)
                if start > size:
                    raise _OtherSizeError(f"the server sends more than {size} bytes")
                file.write(chunk)
                bar.at(start)
        if start < size:
            raise _PassingError(f"the answer ended at byte {start} of {size}")
    finally:
        answer.close()


def _chunk(answer: urllib3.BaseHTTPResponse, url: str) -> bytes:
    try:
        return answer.read1(_CHUNK_BYTES, decode_content=False)
    except HTTPError as error:
        raise _explained(error, url) from None


def _start(answer: urllib3.BaseHTTPResponse, url: str, part: Path, have: int, size: int) -> int:
    """Where the bytes of this answer begin in the file.

    Raises:
        _PassingError: If another request may be answered better.
        _OtherSizeError: If the file is not the one wanted.
        StorageError: If the server will not give it.
    """
    status, headers = answer.status, answer.headers
    if status == HTTPStatus.PARTIAL_CONTENT:
        match = _CONTENT_RANGE.fullmatch(headers.get("Content-Range", ""))
        if match is None or int(match[1]) != have:
            part.unlink()
            raise _PassingError("the server sent another part than the one asked for")
        if int(match[2]) != size:
            raise _OtherSizeError(f"the server's file has {match[2]} bytes")
        return have
    if status == HTTPStatus.OK:
        length = headers.get("Content-Length", "")
        if length.isdecimal() and int(length) != size:
            raise _OtherSizeError(f"the server's file has {length} bytes")
        if have:
            _log.warning("%s: the server sends the file from its beginning again", shown_url(url))
        _remember(headers, part)
        return 0
    if status == HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE:
        raise _OtherSizeError(f"the server's file ends before byte {have}")
    named = f"the server answered {status} {answer.reason or ''}".rstrip()
    if status in _PASSING:
        after = headers.get("Retry-After", "")
        raise _PassingError(named, wait_s=min(float(after), 60.0) if after.isdecimal() else 0.0)
    raise StorageError(
        f"{shown_url(url)}: {named}; the file has moved or is not for everybody: look it up on "
        "the site of the data set, and correct the address in the spec"
    )


def _remember(headers: Mapping[str, str], part: Path) -> None:
    """Keep what names this version of the file; a weak tag ("W/...") does not."""
    tag = headers.get("ETag", "")
    tag = headers.get("Last-Modified", "") if not tag or tag.startswith("W/") else tag
    if tag:
        _tag(part).write_text(tag)
    else:
        _tag(part).unlink(missing_ok=True)


def _explained(error: HTTPError, url: str) -> _PassingError | StorageError:
    """What a failed connection means."""
    reason = error.reason if isinstance(error, MaxRetryError) and error.reason else error
    if isinstance(reason, SSLError) and isinstance(reason.args[0], ssl.SSLCertVerificationError):
        return StorageError(
            f"{shown_url(url)}: the server's certificate is not to be trusted "
            f"({reason.args[0].verify_message}); check the address, and SSL_CERT_FILE if an "
            "authority of your own signs certificates here"
        )
    if isinstance(reason, ReadTimeoutError):
        return _PassingError("nothing arrived any more")
    return _PassingError(f"the connection failed ({type(reason).__name__})")


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _tag(part: Path) -> Path:
    return part.with_suffix(".tag")
