"""What stands before the service in the HTTP server: it bounds memory, and errors are JSON.

Ray Serve's own HTTP server reads a body of any size into memory, also of a request that waits for
a replica. Here a body is read before Serve has the request, up to a limit that holds for it and
for all at once. Serve answers errors in plain text, or not at all; here they get the one form
that the service documents.

An ASGI middleware. Its counts are of one event loop, which is that of one HTTP server.
"""

import asyncio
import json
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from http import HTTPStatus

from starlette.middleware import Middleware
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from retdm.serving.answers import FAILED
from retdm.serving.limits import Limits

VARIABLE = "RETDM_SERVE_LIMITS"
"""Environment variable by which the HTTP servers learn the limits."""
_BODY_S = 60.0
"""For a client to send the whole of its request."""
_OF_SERVE = ("/-/healthz", "/-/routes")
"""What Serve answers by itself; all else that begins so goes to a replica."""
_HEADERS = (b"host", b"content-type")
"""Those that the service reads. By others a client would tell Serve how long to work for it
(x-request-timeout-seconds) or to go on when it has left; some make Serve fail and leak bodies."""
_SENTENCES = {
    408: "the answer took too long; send fewer images, or try again later",
    500: FAILED,
    503: "the service is overloaded or just starting; try again in a second",
}


def middlewares() -> list[Middleware]:
    """For Ray Serve, which finds this function by its name."""
    return [Middleware(Gate, limits=Limits.of(os.environ[VARIABLE]))]


class Refused(Exception):
    """A request gets no further."""

    def __init__(self, status: int, sentence: str) -> None:
        super().__init__(status, sentence)
        self.status, self.sentence = status, sentence


class Gate:
    """Lets whole requests through whose bodies are within the limits."""

    def __init__(self, app: ASGIApp, limits: Limits, *, body_s: float = _BODY_S) -> None:
        self._app, self._limits, self._body_s = app, limits, body_s
        self._requests = self._held = 0

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Take a request, as ASGI has it."""
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        elif scope["type"] != "http":
            await self._app(scope, receive, send)
        elif scope["path"] in _OF_SERVE:
            await self._app(_bare(scope), receive, send)
        else:
            try:
                async with self._taken():
                    await self._through(scope, receive, send)
            except Refused as refused:
                await answer(send, refused.status, refused.sentence)

    @asynccontextmanager
    async def _taken(self) -> AsyncIterator[None]:
        if self._requests >= self._limits.requests:
            raise Refused(503, _SENTENCES[503])
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _through(self, scope: Scope, receive: Receive, send: Send) -> None:
        body, size = bytearray(), 0
        try:
            try:
                async with asyncio.timeout(self._body_s):
                    whole = await self._read(scope, receive, body)
            except TimeoutError as error:
                raise Refused(
                    408, f"the request was not here whole after {self._body_s:g} seconds"
                ) from error
            finally:
                size = len(body)
            if whole:
                told = InJson(send)
                try:
                    await self._app(_bare(scope), _again(body, receive), told)
                except Exception:
                    await told.end()
                    raise  # behind the answer, so that the log has the traceback
                await told.end()
        finally:
            self._held -= size

    async def _read(self, scope: Scope, receive: Receive, body: bytearray) -> bool:
        """Receive the body; whether it is whole, or the client is gone."""
        most = self._limits.body_bytes
        announced = dict(scope["headers"]).get(b"content-length", b"")
        size = int(announced) if announced.isdigit() else 0
        more = True
        while True:
            if max(size, len(body)) > most:
                raise Refused(
                    413,
                    f"the request is larger than {most} bytes ({self._limits.images} images of "
                    f"{self._limits.image_bytes} bytes); send smaller images, or fewer at once",
                )
            if self._held > self._limits.held_bytes:
                raise Refused(503, _SENTENCES[503])
            if not more:
                return True
            message = await receive()
            if message["type"] != "http.request":
                return False
            chunk = message.get("body", b"")
            body += chunk
            self._held += len(chunk)
            more = message.get("more_body", False)


def _bare(scope: Scope) -> Scope:
    kept = [pair for pair in scope["headers"] if pair[0] in _HEADERS]
    return {**scope, "headers": kept}


def _again(body: bytearray, receive: Receive) -> Receive:
    """The body in one message, then what the client does; empties `body`, or it would be twice."""
    first: list[Message] = [{"type": "http.request", "body": bytes(body), "more_body": False}]
    body.clear()

    async def receive_again() -> Message:
        return first.pop() if first else await receive()

    return receive_again


class InJson:
    """Sends what the service answers; an error that is not in JSON becomes one."""

    def __init__(self, send: Send) -> None:
        self._send = send
        self._started, self._status = False, 0

    async def __call__(self, message: Message) -> None:
        """Send a message, as ASGI has it."""
        if message["type"] == "http.response.start":
            self._started = True
            kind = dict(message.get("headers", ())).get(b"content-type", b"")
            if message["status"] >= 400 and not kind.startswith(b"application/json"):
                self._status = message["status"]
        if not self._status:
            await self._send(message)

    async def end(self) -> None:
        """Send what is still to be said when the service has returned."""
        status = self._status if self._started else 500
        if status:
            await answer(self._send, status, _sentence(status))


def _sentence(status: int) -> str:
    return _SENTENCES.get(status) or HTTPStatus(status).phrase


async def answer(send: Send, status: int, sentence: str) -> None:
    """Answer with an error."""
    body = json.dumps({"error": sentence}).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    if status == 503:
        headers.append((b"retry-after", b"1"))
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
