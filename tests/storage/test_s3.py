"""S3 against a real server (OpenStack Swift): what can be wrong, and what is said then."""

import pickle
from pathlib import Path
from typing import Any

import pytest

from retdm.errors import StorageError
from retdm.storage import Store, arrow_filesystem, open_store

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
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-value")
    for call in _every_call(store, tmp_path):
        with pytest.raises(
            StorageError,
            match=r"(refused the credentials \(SignatureDoesNotMatch\)|denied access \(403\)); "
            "correct AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY",
        ) as caught:
            call()
        assert "wrong-secret-value" not in str(caught.value)


def test_no_credentials_at_all(s3: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    with pytest.raises(StorageError, match="no S3 credentials found; set AWS_ACCESS_KEY_ID"):
        open_store(s3.url()).read("a")


def test_an_unreachable_server_is_given_up_after_bounded_attempts(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "someone")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "2")
    with pytest.raises(StorageError, match=r"cannot reach http://127\.0\.0\.1:9 .*check that the"):
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
