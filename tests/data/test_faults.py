"""Whole epochs through a proxy that injects faults between the loader and the S3 server."""

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from retdm.config import DataSettings
from retdm.data.batch import Batch
from retdm.data.loader import TrainingLoader
from retdm.data.split import open_split
from retdm.errors import RetdmError, StorageError, TransientStorageError
from retdm.storage import open_store
from tests.storage.fault_proxy import FaultProxy, Kind, fail_lookups

SAMPLES, PER_SHARD = 160, 2
BUSY_S = 20
"""Allowed beyond the configured time to a machine that does other things too."""
KINDS: list[Kind] = [
    *("500", "503", "reset", "drop", "truncate", "stall", "flip", "expired", "refuse")
]
Sample = tuple[int, bytes, bytes]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, build_set: Any, make_jpeg: Any) -> str:
    """The source: the same shard set on this machine."""
    folder = tmp_path_factory.mktemp("source")
    build_set(str(folder), [make_jpeg(n) for n in range(SAMPLES)], per_shard=PER_SHARD)
    return str(folder)


@pytest.fixture(scope="module")
def bucket(s3: Any, folder: str) -> str:
    """The shard set on S3."""
    local, url = open_store(folder), s3.url("faults")
    there = open_store(url)
    with ThreadPoolExecutor(8) as pool:
        names = [name for name in local.names() if not name.endswith(".idx")]
        list(pool.map(lambda name: there.write(name, Path(folder, name)), names))
    return str(url)


@pytest.fixture(scope="module")
def source(folder: str) -> list[Sample]:
    """What the epoch is without storage between: row, pixels and labels of all samples."""
    return list(_samples(_training(folder).epoch(0)))


@pytest.fixture(autouse=True)
def _quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RETDM_S3_STALL_S", "2")
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "30")
    monkeypatch.setattr("retdm.storage.patience._FIRST_PAUSE_S", 0.05)


def _training(url: str, **more: Any) -> TrainingLoader:
    settings = {"url": url, "batch_size": 32, "image_size": 16, "loader_workers": 0, **more}
    settings |= {"shuffle_window": 8, "read_ahead": 8}
    return TrainingLoader(
        open_split(url, "train"), DataSettings(**settings), seed=3, rank=0, world_size=1
    )


def _samples(batches: Iterator[Batch]) -> Iterator[Sample]:
    for batch in batches:
        for row, image, target in zip(batch.indices, batch.images, batch.targets, strict=True):
            yield int(row), image.numpy().tobytes(), target.numpy().tobytes()


@pytest.mark.parametrize(
    "read, kind",
    [
        *(("shards", kind) for kind in KINDS),
        *(("ranges", kind) for kind in ("503", "reset", "truncate", "stall", "flip", "expired")),
    ],
)
def test_an_epoch_survives_a_fault_in_every_twentieth_request(
    bucket: str,
    source: list[Sample],
    faults: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: str,
    kind: Kind,
) -> None:
    if kind == "stall":
        monkeypatch.setenv("RETDM_S3_STALL_S", "0.4")
    if kind == "flip" and read == "shards":  # only every second request has bytes to damage
        faults.inject(kind, 0.1, where="^GET")
    else:
        faults.inject(kind, 0.05)
    loader = _training(bucket, read=read, cache_dir=str(tmp_path / "cache"))
    assert list(_samples(loader.epoch(0))) == source
    assert faults.injected[kind] >= 2
    assert len(loader.bad) == 0
    if read == "shards":
        assert len(list((tmp_path / "cache").glob("*.tar"))) == SAMPLES // PER_SHARD


def test_manifest_and_table_are_read_again_where_they_arrive_wrong(
    bucket: str, faults: FaultProxy
) -> None:
    faults.inject("flip", 0.4, where="manifest|parquet")
    for _ in range(5):
        assert len(open_split(bucket, "train")) == SAMPLES
    assert faults.injected["flip"] >= 2


TRIED = r"tried \d+ times in \d\.\d s; RETDM_S3_PATIENCE_S is 1.5, RETDM_S3_STALL_S is 1"
LOST = rf"lost the connection to http://127.0.0.1:\d+ \([A-Z]\w+Error.*; {TRIED}\); check that"
DAMAGED = r"sample 'photo-\d+': arrived damaged 8 times, each time differently; check the network"
LASTING: dict[Kind, tuple[type[RetdmError], str]] = {
    "500": (
        TransientStorageError,
        rf"answered (InternalError|500): .*\({TRIED}\); try again later",
    ),
    "503": (TransientStorageError, rf"answered (SlowDown|503): .*\({TRIED}\); try"),
    "reset": (TransientStorageError, LOST),
    "drop": (TransientStorageError, LOST),
    "truncate": (TransientStorageError, LOST),
    "stall": (TransientStorageError, LOST),
    "flip": (TransientStorageError, DAMAGED),
    "expired": (
        StorageError,
        r"(refused the cred.*Expired.*|denied access \(403\)); correct AWS_",
    ),
}


@pytest.mark.parametrize(
    "read, kind",
    [*(("shards", kind) for kind in LASTING), ("ranges", "stall"), ("ranges", "flip")],
)
def test_a_fault_that_lasts_ends_the_epoch_in_time(
    bucket: str,
    faults: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    read: str,
    kind: Kind,
) -> None:
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "1.5")
    monkeypatch.setenv("RETDM_S3_STALL_S", "1")
    loader = _training(bucket, read=read, cache_dir=str(tmp_path / "cache"))
    epoch = loader.epoch(0)
    next(epoch)
    faults.inject(kind)
    wanted, message = LASTING[kind]
    begun = time.monotonic()
    with pytest.raises(wanted, match=rf"^{bucket}/train/\d+\.tar: .*{message}") as caught:
        list(epoch)
    took_s = time.monotonic() - begun
    assert isinstance(caught.value, TransientStorageError) == (wanted is TransientStorageError)
    assert took_s < 1.5 + 1 + BUSY_S
    assert faults.injected[kind] >= 2


def test_a_server_whose_name_is_not_known_at_first(
    bucket: str, source: list[Sample], faults: FaultProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ENDPOINT_URL", f"http://localhost:{faults.port}")
    left = fail_lookups(monkeypatch, 5)
    assert next(_training(bucket, read="ranges").epoch(0)).indices.tolist() == [
        row for row, _, _ in source[:32]
    ]
    assert left == [0]
    left[0] = 10**9
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "0.5")
    with pytest.raises(
        TransientStorageError,
        match=r"manifest.json: cannot reach http://localhost:\d+ \(EndpointConnectionError: "
        r"Temporary failure in name resolution; tried \d+ times in \d\.\d s; RETDM_S3_PATIENCE_S",
    ):
        open_split(bucket, "train")


def test_loader_processes_survive_everything_at_once_and_give_up_in_time(
    bucket: str,
    source: list[Sample],
    faults: FaultProxy,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The processes have no time to notice that it changes, so it is short from the beginning.
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "5")
    monkeypatch.setenv("RETDM_S3_STALL_S", "2")
    for kind in KINDS:
        faults.inject(kind, 0.01)
    limit = 24 * max(shard.bytes for shard in open_split(bucket, "train").info.shards)
    loader = _training(
        bucket, loader_workers=2, cache_dir=str(tmp_path / "cache"), cache_bytes=limit
    )
    try:
        assert list(_samples(loader.epoch(0))) == source
        assert sum(faults.injected.values()) >= 5
        held = sum(path.stat().st_size for path in (tmp_path / "cache").glob("*.tar"))
        assert 0 < held <= limit
        faults.clear()
        faults.inject("stall")
        begun = time.monotonic()
        with pytest.raises(TransientStorageError, match="ReadTimeoutError; tried"):
            list(loader.epoch(1))
        assert time.monotonic() - begun < 5 + 2 + BUSY_S
    finally:
        loader.close()
