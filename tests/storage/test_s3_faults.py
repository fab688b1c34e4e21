"""S3 through a proxy that injects faults: what passes is survived, what lasts ends in time."""

import logging
import os
import time
from pathlib import Path
from typing import Any

import pytest

from retdm.errors import NotFoundError, StorageError, TransientStorageError
from retdm.storage import open_store, s3_parts
from tests.storage.fault_proxy import FaultProxy, Kind, fail_lookups

pytestmark = pytest.mark.cluster

BUSY_S = 20
"""Allowed beyond the configured time to a machine that does other things too."""
BROKEN: list[Kind] = ["500", "503", "reset", "drop", "truncate", "stall", "refuse"]
TRIED = r"tried \d+ times in [\d.]+ s; RETDM_S3_PATIENCE_S is 1.5, RETDM_S3_STALL_S is 1"
LOST = r"lost the connection to http://127.0.0.1:\d+ \({}.*; {}\); check that the server runs"


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETDM_S3_STALL_S", "1")
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "30")
    monkeypatch.setattr("retdm.storage.patience._FIRST_PAUSE_S", 0.05)


@pytest.mark.parametrize("kind", [*BROKEN, "expired"])
def test_every_call_survives_faults_that_pass(
    s3: Any, faults: FaultProxy, tmp_path: Path, kind: Kind
) -> None:
    store = open_store(s3.url())
    faults.inject(kind, 0.3)
    for number in range(2):
        name, content = f"d/{number}", os.urandom(20_000)
        store.write(name, content)
        assert store.read(name) == content
        assert store.read_range(name, 500, 1000) == content[500:1500]
        store.download(name, tmp_path / "to")
        assert (tmp_path / "to").read_bytes() == content
        assert store.size(name) == len(content)
        assert store.names() == [name]
        store.delete(name)
        assert store.size(name) is None
        with pytest.raises(NotFoundError, match="no such object"):
            store.read(name)
    assert faults.injected[kind] >= 3


@pytest.mark.parametrize(
    "call, kind, message",
    [
        ("read", "500", rf"answered InternalError: We enc.*\({TRIED}\); try again later"),
        ("download", "503", rf"answered SlowDown: .*\({TRIED}\); try again later"),
        ("read", "reset", LOST.format("ResponseStreamingError: Connection reset by peer", TRIED)),
        ("read", "drop", LOST.format("ConnectionClosedError", TRIED)),
        ("download", "truncate", LOST.format("(ResponseStreaming|IncompleteRead)Error", TRIED)),
        ("download", "stall", LOST.format("ReadTimeoutError", TRIED)),
    ],
)
def test_a_fault_that_lasts_ends_in_time(
    s3: Any,
    faults: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    call: str,
    kind: Kind,
    message: str,
) -> None:
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "1.5")
    store = open_store(s3.url())
    store.write("a", b"0123456789" * 1000)
    faults.inject(kind)
    begun = time.monotonic()
    with pytest.raises(TransientStorageError, match=rf"^{store.url}/a: .*{message}"):
        store.read("a") if call == "read" else store.download("a", tmp_path / "to")
    assert 1.4 < time.monotonic() - begun < 1.5 + 1 + BUSY_S
    assert faults.injected[kind] >= 2


def test_a_server_that_went_down_is_waited_for_as_long_as_the_patience_lasts(
    s3: Any, faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "1.5")
    store = open_store(s3.url())
    store.write("a", b"x")
    faults.refuse()
    with pytest.raises(TransientStorageError, match=r"cannot reach .*Connection refused; tried"):
        store.read("a")
    faults.accept()
    assert store.read("a") == b"x"


def test_a_name_that_is_not_resolved_at_first(
    s3: Any, faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{faults.port}")
    left = fail_lookups(monkeypatch, 4)
    store = open_store(s3.url())
    store.write("a", b"x")
    assert left == [0]
    left[0] = 10**9
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "0.5")
    with pytest.raises(
        TransientStorageError,
        match=r"cannot reach http://localhost.*: Temporary failure in name resolution; tried",
    ):
        store.read("a")


def test_a_fault_costs_one_part_of_a_large_object(
    s3: Any, faults: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_parts, "_DOWNLOAD_BYTES", 100_000)
    store, content = open_store(s3.url()), os.urandom(2_950_000)
    store.write("a", content)
    faults.clear()
    faults.inject("truncate", 0.2)
    store.download("a", tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == content
    assert store.read("a") == content
    assert faults.injected["truncate"] > 3
    assert faults.seen["GET"] == 2 * 30 + faults.injected["truncate"]


def test_an_object_that_is_replaced_on_the_way_is_the_old_or_the_new_whole(
    s3: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(s3_parts, "_DOWNLOAD_BYTES", 1000)
    store, old, new = open_store(s3.url()), b"o" * 5000, b"n" * 3500
    begin, times = s3_parts._all, [1]

    def replacing(*args: Any) -> Any:
        if times[0]:
            times[0] -= 1
            store.write("a", new)
        return begin(*args)

    store.write("a", old)
    monkeypatch.setattr(s3_parts, "_all", replacing)
    store.download("a", tmp_path / "to")
    assert (tmp_path / "to").read_bytes() == new
    store.write("a", old)
    times[0] = 1
    assert store.read("a") == new

    def always(*args: Any) -> Any:
        store.write("a", os.urandom(4000))
        return begin(*args)

    monkeypatch.setattr(s3_parts, "_all", always)
    with pytest.raises(TransientStorageError, match="/a: replaced again and again while it was"):
        store.read("a")


@pytest.mark.parametrize("kind", ["drop", "flip"])
def test_a_large_upload_survives_faults_and_costs_one_part_each(
    s3: Any, faults: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(s3_parts, "UPLOAD_BYTES", 5 << 20)
    monkeypatch.setattr("retdm.storage.s3.UPLOAD_BYTES", 5 << 20)
    store, content = open_store(s3.url()), os.urandom(22_345_678)
    (tmp_path / "from").write_bytes(content)
    faults.inject(kind, 0.4, where="^PUT.*partNumber")
    store.write("a", tmp_path / "from")
    assert faults.injected[kind] >= 1
    assert faults.seen["PUT"] == 5 + faults.injected[kind]
    faults.clear()
    assert store.read("a") == content


@pytest.mark.parametrize("kind", ["500", "drop"])
def test_a_large_upload_that_fails_leaves_no_parts(
    s3: Any, faults: FaultProxy, monkeypatch: pytest.MonkeyPatch, kind: Kind
) -> None:
    monkeypatch.setattr(s3_parts, "UPLOAD_BYTES", 5 << 20)
    monkeypatch.setattr("retdm.storage.s3.UPLOAD_BYTES", 5 << 20)
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "0.3")
    store = open_store(s3.url())
    faults.inject(kind, where="partNumber=3")
    with pytest.raises(TransientStorageError, match=r"/a: .*; tried|\(tried"):
        store.write("a", bytes(12 << 20))
    faults.clear()
    assert store.size("a") is None
    assert "Uploads" not in s3.client().list_multipart_uploads(Bucket=s3.bucket)


def _credentials(path: Path, s3: Any, token: str) -> None:
    path.write_text(
        f"[default]\naws_access_key_id = {s3.environment['AWS_ACCESS_KEY_ID']}\n"
        f"aws_secret_access_key = {s3.environment['AWS_SECRET_ACCESS_KEY']}\n"
        f"aws_session_token = {token}\n"
    )


def test_credentials_that_expire_are_loaded_anew(
    s3: Any, faults: FaultProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    file = tmp_path / "credentials"
    _credentials(file, s3, "old")
    monkeypatch.delenv("AWS_ACCESS_KEY_ID")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY")
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(file))
    store = open_store(s3.url())
    store.write("a", b"x")
    faults.expired_tokens.add("old")
    _credentials(file, s3, "new")
    assert store.read("a") == b"x"
    assert faults.injected["expired"] == 1
    faults.expired_tokens.add("new")
    begun = time.monotonic()
    with pytest.raises(
        StorageError, match=r"refused the credentials \(ExpiredToken\); correct AWS_ACCESS_KEY_ID"
    ) as caught:
        store.read("a")
    assert not isinstance(caught.value, TransientStorageError)
    assert time.monotonic() - begun < 5 + BUSY_S


def test_wrong_credentials_are_reported_within_seconds_and_never_logged(
    s3: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "wrong-secret-value")
    begun = time.monotonic()
    with (
        caplog.at_level(logging.DEBUG, "retdm"),
        pytest.raises(StorageError, match=r"refused the credentials \(SignatureDoesNotMatch\)"),
    ):
        open_store(s3.url()).read("a")
    assert time.monotonic() - begun < 5 + BUSY_S
    assert caplog.text.count("trying again in") == 3
    assert "wrong-secret-value" not in caplog.text
