"""The HTTP interface by itself: what becomes of what a model does."""

import json
from dataclasses import replace
from html.parser import HTMLParser

import pytest

import retdm
from retdm.errors import DivergenceError
from retdm.serving.app import build_app
from retdm.serving.limits import Limits
from retdm.serving.scoring import Scoring

LIMITS = Limits(images=2, image_bytes=5000, image_pixels=9000, requests=3)
KIND = (b"content-type", b"multipart/form-data; boundary=b")


@pytest.fixture(scope="module")
def model(trained):
    return retdm.load(trained.run("bce"))


@pytest.fixture
def photo(trained, tmp_path):
    return trained.photos(tmp_path)[0].read_bytes()


def _app(model):
    scoring = Scoring(model)

    async def score(pixels):
        [scores] = await scoring.score([pixels])
        return scores

    return build_app(scoring, score, LIMITS)


def _form(*contents):
    lines = (
        b'--b\r\nContent-Disposition: form-data; name="images"; filename="%d.jpg"\r\n\r\n%s\r\n'
    )
    return [b"".join(lines % pair for pair in enumerate(contents)) + b"--b--\r\n"]


def test_images_are_answered_in_their_order_as_the_model_sees_them(asked, model, photo):
    answer = asked(_app(model), chunks=_form(photo, b"text"), headers=[KIND])
    assert answer.status == 200
    first, second = json.loads(answer.body)["predictions"]
    scores = dict(zip(model.labels, model.scores(photo)[0].tolist(), strict=True))
    assert first == {
        "image": "0.jpg",
        "labels": model.predict(photo)[0],
        "scores": scores,
        "error": None,
    }
    assert second == {
        "image": "1.jpg",
        "labels": None,
        "scores": None,
        "error": "cannot be decoded (not an image); replace the photo or leave it out",
    }


@pytest.mark.parametrize(
    ("query", "wanted"),
    [
        ("threshold=0.4", {"threshold": 0.4}),
        ("threshold=fixed", {"threshold": "fixed"}),
        ("threshold=fitted", {"threshold": "fitted"}),
        ("top=3", {"top": 3}),
        ("top=99", {"top": 99}),
    ],
)
def test_labels_are_those_of_the_threshold_or_the_best(asked, model, photo, query, wanted):
    request = {"chunks": _form(photo), "headers": [KIND], "query": query.encode()}
    [found] = json.loads(asked(_app(model), **request).body)["predictions"]
    assert found["labels"] == model.predict(photo, **wanted)[0]


@pytest.mark.parametrize(
    ("query", "sentence"),
    [
        (
            "threshold=2",
            "threshold: Input should be less than or equal to 1, or: "
            "Input should be 'fitted' or 'fixed'",
        ),
        ("threshold=often&top=x", "threshold: Input should be a valid number, "),
        ("top=0", "top: Input should be greater than or equal to 1"),
        ("thresold=0.3", "there is no parameter 'thresold', only threshold and top"),
        ("top=1&threshold=0", "there are both threshold and top; give one of them"),
    ],
)
def test_wrong_parameters_are_named(asked, model, photo, query, sentence):
    request = {"chunks": _form(photo), "headers": [KIND], "query": query.encode()}
    answer = asked(_app(model), **request)
    assert answer.status == 422
    assert json.loads(answer.body)["error"].startswith(sentence)


def test_fitted_thresholds_that_are_not_there_are_refused(asked, model, photo):
    without = replace(model, fitted=None)
    request = {"chunks": _form(photo), "headers": [KIND], "query": b"threshold=fitted"}
    answer = asked(_app(without), **request)
    assert answer.status == 422
    assert json.loads(answer.body)["error"].startswith("there are no fitted thresholds: ")


@pytest.mark.parametrize(
    ("contents", "status", "sentence"),
    [
        ([b"a"] * 3, 413, "there are 3 images; send 2 or fewer at once"),
        ([b"a" * 5001], 413, "image '0.jpg' has 5001 bytes; send 5000 or fewer, "),
        ([], 422, "images: Field required"),
        ([b"a"] * 1001, 400, "Too many files. "),
    ],
)
def test_too_much_and_too_little_is_refused(asked, model, contents, status, sentence):
    answer = asked(_app(model), chunks=_form(*contents), headers=[KIND])
    assert answer.status == status
    assert json.loads(answer.body)["error"].startswith(sentence)


@pytest.mark.parametrize("kind", [None, b"image/jpeg", b"application/json", b"multipart/mixed"])
def test_a_body_that_is_no_form_is_refused(asked, model, kind):
    headers = [(b"content-type", kind)] if kind else []
    answer = asked(_app(model), chunks=[b"{}"], headers=headers)
    assert answer.status == 415
    found = kind.decode() if kind else "of no type"
    assert json.loads(answer.body)["error"] == f"the body is {found}; send multipart/form-data"


@pytest.mark.parametrize("charset", ["utf-7", "undefined", "idna", "unicode_escape", "no-such"])
def test_names_in_another_charset_than_utf_8_are_refused(asked, model, photo, charset):
    headers = [(KIND[0], b"%s; charset=%s" % (KIND[1], charset.encode()))]
    names = [chunk.replace(b"0.jpg", b"+2AA-.jpg") for chunk in _form(photo)]
    answer = asked(_app(model), chunks=names, headers=headers)
    assert answer.status == 415
    said = f"the charset of the body is {charset}; send utf-8"
    assert json.loads(answer.body)["error"] == said


@pytest.mark.parametrize(
    ("charset", "name", "found"),
    [
        (b"", "\N{CAT}\N{SNOWMAN}.jpg".encode(), "\N{CAT}\N{SNOWMAN}.jpg"),
        (b"; charset=UTF-8", "\N{CAT}.jpg".encode(), "\N{CAT}.jpg"),
        (b'; charset="utf8"', b"\xed\xa0\x80", "\u00ed\u00a0\u0080"),  # a lone surrogate
    ],
)
def test_names_come_back_as_they_were_sent(asked, model, photo, charset, name, found):
    chunks = [chunk.replace(b"0.jpg", name) for chunk in _form(photo)]
    answer = asked(_app(model), chunks=chunks, headers=[(KIND[0], KIND[1] + charset)])
    [row] = json.loads(answer.body)["predictions"]
    assert row["image"] == found


def test_a_model_that_fails_is_an_error_without_the_models_words(asked, model, photo):
    async def score(pixels):
        raise DivergenceError("/srv/runs/secret: the network's scores are not finite numbers")

    app = build_app(Scoring(model), score, LIMITS)

    async def logged(scope, receive, send):
        with pytest.raises(DivergenceError):
            await app(scope, receive, send)

    answer = asked(logged, chunks=_form(photo), headers=[KIND])
    assert answer.status == 500
    assert json.loads(answer.body) == {
        "error": "the service failed at this request; its log says why"
    }


def test_the_model_is_described_with_labels_thresholds_and_limits(asked, model):
    answer = asked(_app(model), path="/v1/model", method="GET")
    about = json.loads(answer.body)
    assert about == {
        "run": "bce",
        "checkpoint": model.origin.checkpoint,
        "digest": model.digest,
        "data_digest": model.origin.data_digest,
        "labels": list(model.labels),
        "thresholds": dict(zip(model.labels, model.thresholds().tolist(), strict=True)),
        "fitted": True,
        "image_size": model.decoder.size,
        "max_images": 2,
        "max_image_bytes": 5000,
        "max_image_pixels": 9000,
    }


def test_the_page_names_every_operation_parameter_and_status_and_loads_nothing(asked, model):
    app = _app(model)
    answer = asked(app, path="/docs", method="GET")
    assert answer.headers[b"content-security-policy"].startswith(b"default-src 'none'; ")
    seen = _Seen()
    seen.feed(answer.body.decode())
    assert seen.open == []
    assert seen.links == ["openapi.json"]
    for path, methods in app.openapi()["paths"].items():
        for method, operation in methods.items():
            wanted = [f"{method.upper()} {path}", *operation["responses"]]
            wanted += [one["name"] for one in operation.get("parameters", ())]
            assert set(wanted) <= set(seen.code), path


class _Seen(HTMLParser):
    """What is in a page: its code words, what it links to, and tags that are not closed."""

    def __init__(self):
        super().__init__()
        self.code, self.links, self.open = [], [], []

    def handle_starttag(self, tag, attributes):
        self.links += [value for name, value in attributes if name in ("href", "src")]
        if tag != "meta":
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "code":
            self.code.append(data)
