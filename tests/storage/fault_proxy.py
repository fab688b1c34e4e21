"""An HTTP proxy that stands before an S3 server and does what networks and clouds do.

The Host header passes unchanged, so requests that were signed for the proxy's address stay
valid: point AWS_ENDPOINT_URL at `FaultProxy.url`. It runs in a thread of the test's process.
"""

import asyncio
import random
import re
import socket
import struct
import threading
from collections import Counter
from collections.abc import Coroutine
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Literal, Self
from urllib.parse import urlsplit

import pytest

Kind = Literal["500", "503", "reset", "drop", "truncate", "stall", "flip", "expired", "refuse"]
BODY_KINDS: tuple[Kind, ...] = ("reset", "truncate", "stall", "flip")
_CODES = {
    "500": (500, "InternalError", "We encountered an internal error. Please try again."),
    "503": (503, "SlowDown", "Please reduce your request rate."),
    "expired": (403, "ExpiredToken", "The provided token has expired."),
}
_REFUSED_S = 0.15


@dataclass(frozen=True)
class Fault:
    """What happens to a share of the requests."""

    kind: Kind
    rate: float
    where: re.Pattern[str]
    """Searched for in "METHOD /bucket/key?query"."""


@dataclass(frozen=True)
class _Message:
    start: str
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        return next((v for n, v in self.headers if n.lower() == name), None)

    def head(self) -> bytes:
        lines = [self.start, *(f"{name}: {value}" for name, value in self.headers)]
        return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


class FaultProxy:
    """A proxy before `upstream`; use it in a `with` block.

    `inject` adds a fault, `clear` removes all. `seen` counts requests by method, `requests` has
    them as "METHOD /bucket/key?query", `injected` counts the faults by kind. Requests that carry a
    session token in `expired_tokens` are refused.
    """

    def __init__(self, upstream: str, *, seed: int = 0) -> None:
        parts = urlsplit(upstream)
        self._upstream = (parts.hostname or "", parts.port or 80)
        self._random = random.Random(seed)
        self._faults: list[Fault] = []
        self._listening: socket.socket | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self.seen: Counter[str] = Counter()
        self.requests: set[str] = set()
        self.injected: Counter[str] = Counter()
        self.expired_tokens: set[str] = set()
        with socket.create_server(("127.0.0.1", 0)) as probe:
            self.port: int = probe.getsockname()[1]

    @property
    def url(self) -> str:
        """For AWS_ENDPOINT_URL."""
        return f"http://127.0.0.1:{self.port}"

    def __enter__(self) -> Self:
        self._thread.start()
        self._call(self._listen())
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._call(self._deafen())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def inject(self, kind: Kind, rate: float = 1.0, *, where: str = "") -> None:
        """From now on do this to a share of the requests that match the pattern `where`."""
        self._faults.append(Fault(kind, rate, re.compile(where)))

    def clear(self) -> None:
        """Pass everything on, and count from 0 again."""
        self._faults.clear()
        self.seen.clear()
        self.requests.clear()
        self.injected.clear()
        self.expired_tokens.clear()

    def refuse(self) -> None:
        """Refuse connections, as a server that is down, and end those that there are."""
        self._call(self._deafen())

    def accept(self) -> None:
        """Take connections again."""
        self._call(self._listen())

    def _call(self, work: Coroutine[Any, Any, None]) -> None:
        asyncio.run_coroutine_threadsafe(work, self._loop).result(20)

    async def _listen(self, *, after_s: float = 0) -> None:
        # Not asyncio.start_server: that loses what it has accepted when it is closed.
        await asyncio.sleep(after_s)
        if self._listening is None:
            self._listening = socket.create_server(("127.0.0.1", self.port), backlog=128)
            self._listening.setblocking(False)
            self._begin(self._accept(self._listening))

    async def _accept(self, listening: socket.socket) -> None:
        while self._listening is listening:
            connection, _ = await self._loop.sock_accept(listening)
            task = self._begin(self._serve(connection))
            # One that is cancelled before it begins closes nothing itself.
            task.add_done_callback(lambda t, c=connection: c.close() if t.cancelled() else None)  # type: ignore[misc]

    def _begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return task

    def _stop_listening(self) -> None:
        if self._listening is not None:
            self._loop.remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    async def _deafen(self) -> None:
        self._stop_listening()
        await asyncio.sleep(0.01)  # for what was accepted last to be taken over
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await asyncio.sleep(0.02)  # for asyncio to close the sockets

    async def _serve(self, connection: socket.socket) -> None:
        reader, writer = await asyncio.open_connection(sock=connection)
        try:
            while await self._exchange(reader, writer):
                pass
        except (OSError, asyncio.IncompleteReadError, asyncio.CancelledError):
            _reset(writer)
        finally:
            writer.close()

    async def _exchange(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        """One request and its answer; whether another may follow on this connection."""
        request = await _read(reader, continuing=writer)
        if request is None:
            return False
        method, target, _ = request.start.split(" ", 2)
        self.seen[method] += 1
        self.requests.add(f"{method} {target}")
        kind = self._draw(f"{method} {target}", request)
        if kind in _CODES:
            assert kind is not None
            self.injected[kind] += 1
            status, code, text = _CODES[kind]
            writer.write(_refusal(status, code, text, with_body=method != "HEAD"))
            await writer.drain()
            return True
        if kind == "drop" or kind == "refuse":
            self.injected[kind] += 1
            _reset(writer)
            if kind == "refuse":
                self._stop_listening()
                self._begin(self._listen(after_s=_REFUSED_S))
            return False
        if kind == "flip" and method in ("PUT", "POST") and request.body:
            self.injected[kind] += 1
            request = _Message(request.start, request.headers, self._flipped(request.body))
            kind = None
        answer = await self._forward(request, method)
        return await self._answer(answer, method, kind, reader, writer)

    async def _answer(
        self,
        answer: _Message,
        method: str,
        kind: Kind | None,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        body = answer.body
        good = answer.start.split(" ")[1].startswith("2")
        if kind == "flip" and body and good and method == "GET":
            self.injected[kind] += 1
            body, kind = self._flipped(body), None
        if kind is None or kind == "flip":
            writer.write(answer.head() + body)
            await writer.drain()
            return True
        self.injected[kind] += 1
        # Where there is no body, the head is what does not come.
        half = answer.head() + body[: len(body) // 2] if body else b""
        if half:
            writer.write(half)
            await writer.drain()
        if kind == "stall":
            await reader.read()  # until the client hangs up
        elif kind == "reset":
            await asyncio.sleep(0.01)  # or the client may not see the first half
            _reset(writer)
        return False

    def _draw(self, line: str, request: _Message) -> Kind | None:
        if request.header("x-amz-security-token") in self.expired_tokens:
            return "expired"
        for fault in self._faults:
            if fault.where.search(line) and self._random.random() < fault.rate:
                return fault.kind
        return None

    def _flipped(self, body: bytes) -> bytes:
        content = bytearray(body)
        for _ in range(3):
            content[self._random.randrange(len(content))] ^= 1 << self._random.randrange(8)
        return bytes(content) if content != body else bytes([body[0] ^ 1]) + body[1:]

    async def _forward(self, request: _Message, method: str) -> _Message:
        reader, writer = await asyncio.open_connection(*self._upstream)
        try:
            headers = [h for h in request.headers if h[0].lower() not in ("expect", "connection")]
            once = _Message(request.start, [*headers, ("Connection", "close")], request.body)
            writer.write(once.head() + request.body)
            await writer.drain()
            answer = await _read(reader, bodiless=method == "HEAD")
            assert answer is not None, "the server behind the proxy hung up"
            kept = [h for h in answer.headers if h[0].lower() != "connection"]
            return _Message(answer.start, kept, answer.body)
        finally:
            # Not close(), which would first send what is left of a request.
            writer.transport.abort()


async def _read(
    reader: asyncio.StreamReader,
    *,
    continuing: asyncio.StreamWriter | None = None,
    bodiless: bool = False,
) -> _Message | None:
    """A request or an answer; None if the other side has no more to say."""
    try:
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    except asyncio.IncompleteReadError as error:
        if error.partial:
            raise
        return None
    start, *lines = head[:-4].split("\r\n")
    headers = [(line.partition(":")[0], line.partition(":")[2].strip()) for line in lines]
    message = _Message(start, headers, b"")
    if continuing is not None and (message.header("expect") or "").lower() == "100-continue":
        continuing.write(b"HTTP/1.1 100 Continue\r\n\r\n")
    if bodiless:
        return message
    if message.header("transfer-encoding") == "chunked":
        body = await _read_chunks(reader)
        kept = [h for h in headers if h[0].lower() != "transfer-encoding"]
        return _Message(start, [*kept, ("Content-Length", str(len(body)))], body)
    length = int(message.header("content-length") or 0)
    return _Message(start, headers, await reader.readexactly(length))


async def _read_chunks(reader: asyncio.StreamReader) -> bytes:
    chunks = []
    while size := int(await reader.readline(), 16):
        chunks.append((await reader.readexactly(size + 2))[:-2])
    await reader.readline()
    return b"".join(chunks)


def _refusal(status: int, code: str, text: str, *, with_body: bool) -> bytes:
    body = (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<Error><Code>{code}</Code>'
        f"<Message>{text}</Message><RequestId>injected</RequestId></Error>"
    ).encode()
    headers = [("Content-Type", "application/xml"), ("Content-Length", str(len(body)))]
    if not with_body:
        headers = [("Content-Length", "0")]
    return _Message(f"HTTP/1.1 {status} Injected", headers, b"").head() + body * with_body


def _reset(writer: asyncio.StreamWriter) -> None:
    """End the connection by RST: what the other side has not read yet is lost."""
    raw = writer.get_extra_info("socket")
    if raw is not None and raw.fileno() >= 0:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


def fail_lookups(monkeypatch: pytest.MonkeyPatch, times: int) -> list[int]:
    """Let the name "localhost" be unknown so many times; returns how often it still will be."""
    resolve, left = socket.getaddrinfo, [times]

    def failing(host: Any, *args: Any, **options: Any) -> Any:
        if host == "localhost" and left[0]:
            left[0] -= 1
            raise socket.gaierror(socket.EAI_AGAIN, "Temporary failure in name resolution")
        return resolve(host, *args, **options)

    monkeypatch.setattr(socket, "getaddrinfo", failing)
    return left
