"""S3 against a real server (OpenStack Swift): what can be wrong, and what is said then."""

import pickle
from pathlib import Path
from typing import Any

import pytest
from botocore.exceptions import ClientError

from retdm.errors import StorageError, TransientStorageError
from retdm.storage import Store, arrow_filesystem, open_store
from retdm.storage.s3_errors import explain

pytestmark = pytest.mark.cluster


def _every_call(store: Store, tmp_path: Path) -> list[Any]:
    return [
        lambda: store.read("a"),
        lambda: store.read_range("a", 0, 1),
        lambda: store.write("a", b"x"),
        lambda: store.download("a", tmp_path / "to"),
        lambda: store.size("a"),
        lambda: store.names(),
        lambda: store.delete("a"),
    ]


def test_a_missing_bucket_is_an_error_and_is_not_made(s3: Any, tmp_path: Path) -> None:
    for call in _every_call(open_store("s3://no-such-bucket/x"), tmp_path):
        with pytest.raises(
            StorageError, match=r"bucket 'no-such-bucket' does not exist on http.*; create it, or"
        ):
            call()
    buckets = [bucket["Name"] for bucket in s3.client().list_buckets()["Buckets"]]
    assert "no-such-bucket" not in buckets


def test_a_wrong_secret_is_named_but_not_shown(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = open_store(s3.url())
    store.write("a", b"x")
    monkeypatch.setattr("retdm.storage.patience._REFUSALS", 0)  # or this takes a second a call
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-value")
    for call in _every_call(store, tmp_path):
        with pytest.raises(
            StorageError,
            match=r"(refused the credentials \(SignatureDoesNotMatch\)|denied access \(403\)); "
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) as caught:
            call()
        assert "wrong-secret-value" not in str(caught.value)
        assert not isinstance(caught.value, TransientStorageError)


def test_no_credentials_at_all(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no S3 credentials found; set AWS_ACCESS_KEY_ID"):
        open_store(s3.url()).read("a")


def test_an_unreachable_server_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "0")
    with pytest.raises(
        TransientStorageError,
        match=r"^s3://bucket/x/a: cannot reach http://127\.0\.0\.1:9 \(EndpointConnectionError: "
        r"Connection refused; tried once in 0\.\d s; RETDM_S3_PATIENCE_S is 0, RETDM_S3_STALL_S "
        r"is 20\); check that the server runs, the network, and AWS_ENDPOINT_URL$",
    ):
        open_store("s3://bucket/x").read("a")


def test_arrow_sees_the_same_files_and_makes_no_bucket(s3: Any) -> None:
    url = s3.url()
    open_store(url).write("d/a", b"hello")
    filesystem, path = arrow_filesystem(url)
    filesystem = pickle.loads(pickle.dumps(filesystem))
    with filesystem.open_input_file(f"{path}/d/a") as file:
        assert file.read() == b"hello"
    with filesystem.open_output_stream(f"{path}/d/b") as file:
        file.write(b"back")
    assert open_store(url).read("d/b") == b"back"
    with pytest.raises(OSError, match="not found"):
        filesystem.create_dir("no-such-bucket/x")


def _answer(code: str, status: int) -> ClientError:
    return ClientError(
        {"Error": {"Code": code, "Message": "m"}, "ResponseMetadata": {"HTTPStatusCode": status}},  # type: ignore[typeddict-item]
        "GetObject",
    )


def test_arrow_sends_no_keys_to_other_processes(monkeypatch: pytest.MonkeyPatch) -> None:
    secret = "a-key-that-stays-here"
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", secret)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", secret)
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    filesystem, _ = arrow_filesystem("s3://b/x")
    assert secret.encode() not in pickle.dumps(filesystem)


@pytest.mark.parametrize(
    "code, status, passes",
    [
        *[("SlowDown", 503, True), ("InternalError", 500, True), ("503", 503, True)],
        *[("RequestTimeout", 400, True), ("TooManyRequests", 429, True)],
        *[("NotImplemented", 501, False), ("EntityTooLarge", 400, False)],
        *[("AccessDenied", 403, False), ("NoSuchBucket", 404, False)],
    ],
)
def test_only_what_may_pass_is_transient(code: str, status: int, passes: bool) -> None:
    error = explain(_answer(code, status), "s3://b/x", "b", None, tried="tried once")
    assert isinstance(error, TransientStorageError) == passes
    assert str(error).endswith("(tried once); try again later") == passes


def test_a_wrong_clock_is_to_be_set() -> None:
    error = explain(_answer("RequestTimeTooSkewed", 403), "s3://b/x", "b", None, tried="")
    assert type(error) is StorageError
    assert str(error) == (
        "s3://b/x: Amazon S3 refused the time of this machine (RequestTimeTooSkewed); "
        "set its clock"
    )


@pytest.mark.parametrize("value", ["http://me:hidden@host", "me:hidden@host", "http://h?k=hidden"])
def test_an_endpoint_that_holds_a_secret_is_refused_without_showing_it(
    monkeypatch: pytest.MonkeyPatch, value: str
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", value)
    for call in (open_store("s3://b/x").names, lambda: arrow_filesystem("s3://b/x")):
        with pytest.raises(
            StorageError,
            match=r"^AWS_ENDPOINT_URL holds a user name, a password or a query, which errors and "
            r"logs would show; write it as http://HOST:PORT or https://HOST, and give keys by",
        ) as caught:
            call()
        assert "hidden" not in str(caught.value)


@pytest.mark.parametrize("variable", ["AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3"])
@pytest.mark.parametrize("value", ["127.0.0.1:9000", "localhost:9000", "http://h:port", "http://"])
def test_an_endpoint_that_is_no_url(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    for call in (open_store("s3://b/x").names, lambda: arrow_filesystem("s3://b/x")):
        with pytest.raises(
            StorageError,
            match=rf"^{variable} is '{value}', which is not a URL; write it as http://HOST:PORT",
        ):
            call()


@pytest.mark.parametrize(
    "variable, value, wanted",
    [
        ("RETDM_S3_STALL_S", "soon", "above 0"),
        ("RETDM_S3_STALL_S", "0", "above 0"),
        ("RETDM_S3_PATIENCE_S", "-1", "of 0 or more"),
        ("RETDM_S3_PATIENCE_S", "inf", "of 0 or more"),
        ("RETDM_S3_PATIENCE_S", "", "of 0 or more"),
    ],
)
def test_a_limit_that_is_no_time(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str, wanted: str
) -> None:
    monkeypatch.setenv(variable, value)
    with pytest.raises(
        StorageError,
        match=f"^{variable} is '{value}'; set it to a number of seconds {wanted}, or unset it$",
    ):
        open_store("s3://b/x").read("a")
