"""A request to an ASGI application, without a server."""

import asyncio
from dataclasses import dataclass, field

import pytest

from tests.trained import trained

__all__ = ["trained"]


@dataclass
class Answer:
    """What an application sent."""

    status: int = 0
    headers: dict = field(default_factory=dict)
    body: bytes = b""


async def ask(
    app, *, path="/v1/predict", method="POST", chunks=(b"",), headers=(), query=b"", more=False
):
    """The answer to one request.

    Args:
        app: The application.
        path, method, headers, query: Of the request.
        chunks: What comes of its body; None for a client that is gone.
        more: Whether there is more of the body, which does not come.
    """
    out, rest = Answer(), list(chunks)

    async def receive():
        if not rest:
            await asyncio.Event().wait()
        chunk = rest.pop(0)
        if chunk is None:
            return {"type": "http.disconnect"}
        return {"type": "http.request", "body": chunk, "more_body": more or bool(rest)}

    async def send(message):
        if message["type"] == "http.response.start":
            assert not out.status, "answered twice"
            out.status, out.headers = message["status"], dict(message["headers"])
        else:
            out.body += message.get("body", b"")

    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "method": method,
        "scheme": "http", "path": path, "raw_path": path.encode(), "root_path": "",
        "query_string": query, "headers": list(headers), "client": None, "server": None,
    }  # fmt: skip
    await app(scope, receive, send)
    return out


@pytest.fixture
def asked():
    """`asked(app, ...)`: as `ask`, for tests that are not coroutines."""
    return lambda app, **request: asyncio.run(ask(app, **request))
