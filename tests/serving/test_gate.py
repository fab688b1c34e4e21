"""What the gate lets through, and how it refuses the rest."""

import asyncio
import json
import tracemalloc
from dataclasses import replace

import pytest

from retdm.serving import gate
from retdm.serving.gate import Gate
from retdm.serving.limits import Limits
from tests.serving.conftest import ask

LIMITS = Limits(images=2, image_bytes=1000, image_pixels=9, requests=3)
MOST = LIMITS.body_bytes


async def _echo(scope, receive, send):
    """Answers with the body it was sent."""
    message = await receive()
    assert not message["more_body"]
    await _say(send, 200, message["body"], b"application/json")


async def _say(send, status, body, kind):
    head = {"status": status, "headers": [(b"content-type", kind)]}
    await send({"type": "http.response.start", **head})
    await send({"type": "http.response.body", "body": body})


def _sentence(answer):
    assert answer.headers[b"content-type"] == b"application/json"
    assert int(answer.headers[b"content-length"]) == len(answer.body)
    return json.loads(answer.body)["error"]


def test_a_body_within_the_limit_goes_through_whole_however_it_comes(asked):
    body = bytes(range(256)) * 16
    for chunks in ([body], [body[:7], b"", body[7:]]):
        answer = asked(Gate(_echo, LIMITS), chunks=chunks)
        assert (answer.status, answer.body) == (200, body)
    assert asked(Gate(_echo, LIMITS), chunks=[bytes(MOST)]).status == 200


def test_an_announced_body_that_is_too_large_is_refused_before_any_of_it_is_read(asked):
    headers = [(b"content-length", str(MOST + 1).encode())]
    answer = asked(Gate(_echo, LIMITS), chunks=[], headers=headers)
    assert answer.status == 413
    assert _sentence(answer) == (
        f"the request is larger than {MOST} bytes (2 images of 1000 bytes); send smaller images, "
        "or fewer at once"
    )


@pytest.mark.parametrize("headers", [[], [(b"content-length", b"5")]], ids=["chunked", "lying"])
def test_a_body_that_grows_too_large_is_refused_while_it_comes(asked, headers):
    answer = asked(Gate(_echo, LIMITS), chunks=[b"x" * 1000] * 99, headers=headers)
    assert answer.status == 413


def test_a_last_chunk_that_makes_a_body_too_large_is_refused(asked):
    assert asked(Gate(_echo, LIMITS), chunks=[b"x" * (MOST + 1)]).status == 413


def test_requests_beyond_the_limit_are_told_to_come_again():
    async def program():
        enough = asyncio.Event()

        async def slow(scope, receive, send):
            await enough.wait()
            await _echo(scope, receive, send)

        guarded = Gate(slow, LIMITS)
        under_way = [asyncio.create_task(ask(guarded)) for _ in range(LIMITS.requests)]
        await asyncio.sleep(0)
        refused = await ask(guarded)
        enough.set()
        assert [one.status for one in await asyncio.gather(*under_way)] == [200] * 3
        assert (await ask(guarded)).status == 200
        return refused

    refused = asyncio.run(program())
    assert refused.status == 503
    assert refused.headers[b"retry-after"] == b"1"
    assert _sentence(refused) == (
        "the service is overloaded or just starting; try again in a second"
    )


def test_bodies_of_all_requests_together_are_bounded():
    async def program():
        limits = replace(LIMITS, requests=100)
        enough = asyncio.Event()

        async def slow(scope, receive, send):
            await enough.wait()
            await _echo(scope, receive, send)

        guarded = Gate(slow, limits)
        large = [b"x" * (MOST // 2), b"x" * (MOST // 2)]
        under_way = [asyncio.create_task(ask(guarded, chunks=large)) for _ in range(20)]
        while sum(one.done() for one in under_way) < 15:
            await asyncio.sleep(0)
        enough.set()
        statuses = [one.status for one in await asyncio.gather(*under_way)]
        assert (await ask(guarded, chunks=large)).status == 200
        return statuses

    statuses = asyncio.run(program())
    assert set(statuses) == {200, 503}
    assert 3 <= statuses.count(200) <= 5


def test_a_body_takes_the_memory_that_is_counted_however_small_its_chunks():
    limits = replace(LIMITS, images=20, image_bytes=10_000)
    size = limits.body_bytes // 8 * 8
    left, held = size // 8, []

    async def receive():
        nonlocal left
        left -= 1
        return {"type": "http.request", "body": b"%08d" % left, "more_body": left > 0}

    async def measure(scope, receive, send):
        message = await receive()
        assert len(message["body"]) == size
        held.append(tracemalloc.get_traced_memory()[0])

    async def send(message):
        pass

    scope = {"type": "http", "path": "/v1/predict", "headers": []}
    tracemalloc.start()
    try:
        asyncio.run(Gate(measure, limits)(scope, receive, send))
        most = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert held[0] < 1.5 * size
    assert most < 2.7 * size  # for a moment, while it becomes one message


def test_a_body_that_does_not_come_is_given_up(asked):
    answer = asked(Gate(_echo, LIMITS, body_s=0.01), chunks=[b"x"], more=True)
    assert answer.status == 408
    assert _sentence(answer) == "the request was not here whole after 0.01 seconds"


def test_a_client_that_leaves_early_is_forgotten(asked):
    guarded = Gate(_echo, LIMITS)
    for _ in range(2 * LIMITS.requests):
        assert asked(guarded, chunks=[b"x", None]).status == 0
    assert asked(guarded).status == 200


@pytest.mark.parametrize(
    ("status", "sentence"),
    [
        (503, "the service is overloaded or just starting; try again in a second"),
        (408, "the answer took too long; send fewer images, or try again later"),
        (500, "the service failed at this request; its log says why"),
        (404, "Not Found"),
    ],
)
def test_an_error_in_plain_text_becomes_json_and_loses_its_text(asked, status, sentence):
    async def serve(scope, receive, send):
        await _say(send, status, b"Traceback: /srv/secret.py", b"text/plain")

    answer = asked(Gate(serve, LIMITS))
    assert (answer.status, _sentence(answer)) == (status, sentence)


def test_an_error_that_is_json_stays_as_it_is(asked):
    async def app(scope, receive, send):
        await _say(send, 422, b'{"error": "top: 0"}', b"application/json")

    answer = asked(Gate(app, LIMITS))
    assert (answer.status, answer.body) == (422, b'{"error": "top: 0"}')


def test_a_service_that_returns_without_an_answer_has_failed(asked):
    async def dead(scope, receive, send):
        await receive()

    answer = asked(Gate(dead, LIMITS))
    assert answer.status == 500
    assert _sentence(answer) == "the service failed at this request; its log says why"


def _logged(app):
    """The application as a server has it, which logs an error and goes on."""

    async def served(scope, receive, send):
        with pytest.raises(UnicodeDecodeError):
            await app(scope, receive, send)

    return served


def test_an_exception_of_serve_is_an_error_in_json_and_goes_to_the_log(asked):
    async def broken(scope, receive, send):
        b"\xff".decode()

    guarded = _logged(Gate(broken, LIMITS))
    for _ in range(2 * LIMITS.requests):
        answer = asked(guarded, chunks=[b"x"])
        assert answer.status == 500
        assert _sentence(answer) == "the service failed at this request; its log says why"


def test_an_exception_in_the_midst_of_an_answer_adds_nothing_to_it(asked):
    async def broken(scope, receive, send):
        head = {"status": 200, "headers": [(b"content-type", b"application/json")]}
        await send({"type": "http.response.start", **head})
        b"\xff".decode()

    answer = asked(_logged(Gate(broken, LIMITS)))
    assert (answer.status, answer.body) == (200, b"")


def test_what_serve_answers_by_itself_passes_also_when_all_is_busy(asked):
    async def health(scope, receive, send):
        await _say(send, 200, b"success", b"text/plain")

    full = Gate(health, replace(LIMITS, requests=0))
    for path in ("/-/healthz", "/-/routes"):
        assert asked(full, path=path, method="GET").body == b"success"
    assert asked(full, path="/healthz", method="GET").status == 503


@pytest.mark.parametrize("path", ["/-/x", "/-/", "/-/healthz/", "/-/routes/x", "/-/healthz\n"])
def test_what_only_looks_like_serves_own_is_bounded_as_the_rest(asked, path):
    most = [b"x" * (MOST + 1)]
    assert asked(Gate(_echo, LIMITS), path=path, chunks=most).status == 413
    full = Gate(_echo, replace(LIMITS, requests=0))
    assert asked(full, path=path).status == 503


@pytest.mark.parametrize("path", ["/v1/predict", "/-/healthz"])
def test_clients_cannot_give_serve_orders_by_headers(asked, path):
    seen = []

    async def serve(scope, receive, send):
        seen.extend(scope["headers"])
        await _say(send, 200, b"{}", b"application/json")

    kept = [(b"host", b"a"), (b"content-type", b"multipart/form-data; boundary=b")]
    orders = [
        (b"x-request-timeout-seconds", b"0"),
        (b"x-request-disconnect-disabled", b"?1"),
        (b"x-request-timeout-seconds", b"\xff"),
        (b"x-request-id", b"\xff"),
        (b"serve-multiplexed-model-id", b"\xff"),
        (b"traceparent", b"00-1-1-01"),
    ]
    assert asked(Gate(serve, LIMITS), path=path, headers=[*orders, *kept]).status == 200
    assert seen == kept


def test_a_websocket_is_closed():
    sent = []

    async def send(message):
        sent.append(message)

    asyncio.run(Gate(_echo, LIMITS)({"type": "websocket"}, None, send))
    assert sent == [{"type": "websocket.close", "code": 1008}]


def test_servers_learn_the_limits_from_their_environment(monkeypatch):
    monkeypatch.setenv(gate.VARIABLE, LIMITS.text())
    [middleware] = gate.middlewares()
    assert (middleware.cls, middleware.kwargs) == (Gate, {"limits": LIMITS})
