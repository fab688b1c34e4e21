"""A long run holds no more of its machine at the end than at the beginning.

`RETDM_LEAK_EPOCHS=200` makes the runs long and, with `-s`, prints what they held.
"""

import os
import statistics
import tempfile
import time
from dataclasses import dataclass, fields, replace
from pathlib import Path

import pytest

from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.storage import open_store
from retdm.train.loop import train
from retdm.train.session import LocalSession
from tests.conftest import ROOT, Ranks
from tests.footprint import Footprint
from tests.train.conftest import settings

EPOCHS = int(os.environ.get("RETDM_LEAK_EPOCHS", "40"))
COUNTS = [field.name for field in fields(Footprint) if field.name != "memory_kib"]
NOISE_KIB = 12 << 10
"""Memory moves by up to two thirds of this, by what the C library gives back at the moment."""
HISTORY_KIB = 64
"""An epoch adds its losses and metrics to the history, which each checkpoint copies and writes in
several forms: 10 KiB an epoch on a rank that writes none, 41 on rank 0, as measured between the
100th and the 200th."""


@dataclass(frozen=True)
class Epoch:
    """What a rank and the processes it started held at the end of an epoch, and when it was."""

    held: Footprint
    ended: float


def grown(epochs: list[Epoch]) -> list[str]:
    """What the last quarter of the epochs held more of than the second; the first warms up.

    A count may be off by a checkpoint that is being written: its least value says whether it
    grows, which it must by less than one in ten epochs.
    """
    quarter = len(epochs) // 4
    early, late = (
        [one.held for one in part] for part in (epochs[quarter:][:quarter], epochs[-quarter:])
    )
    between = len(epochs) // 2
    found = []
    for name in COUNTS:
        first, last = (min(getattr(held, name) for held in part) for part in (early, late))
        if last - first > between // 10:
            found.append(f"{name}: {first} -> {last}")
    first, last = (statistics.median(held.memory_kib for held in part) for part in (early, late))
    if last - first > NOISE_KIB + HISTORY_KIB * between:
        found.append(f"memory_kib: {first:.0f} -> {last:.0f}")
    return found


class Watching(LocalSession):
    """Looks at its own process and those below whenever an epoch has ended."""

    def __init__(self, temporary):
        self.temporary, self.epochs = temporary, []

    def report(self, metrics):
        held = Footprint.of(os.getpid(), self.temporary)
        self.epochs.append(Epoch(held, time.monotonic()))


def _train(rank, config, url, environment):
    """What one rank held after each epoch."""
    os.environ |= environment
    with tempfile.TemporaryDirectory(prefix="leaks-") as folder:
        os.environ["TMPDIR"] = tempfile.tempdir = folder
        session = Watching(Path(folder))
        train(config, session, open_store(url))
        # The fork server's socket is there until this process ends.
        left = [path.name for path in Path(folder).iterdir() if path.name.startswith("retdm-")]
    return session.epochs, left


@pytest.fixture(scope="module")
def photos(tmp_path_factory):
    """`photos(out)`: a shard set of 24 small scenes at this URL."""
    spec, options = load_spec(
        ROOT / "shards/synthetic.toml",
        ["options.images=24", "options.size=32", "shards.samples=8"],
    )

    def pack(out):
        build(spec, options, source=tmp_path_factory.mktemp("source"), out=out)
        return out

    return pack


@pytest.mark.slow
@pytest.mark.timeout(3000)
@pytest.mark.parametrize("place", ["folder", pytest.param("s3", marks=pytest.mark.cluster)])
def test_a_long_run_leaks_nothing(request, photos, tmp_path, place):
    if place == "s3":
        s3 = request.getfixturevalue("s3")
        shards, run, environment = photos(s3.url("shards")), s3.url("run"), s3.environment
    else:
        environment = {}
        shards, run = photos(str(tmp_path / "shards")), str(tmp_path / "run")
    config = settings(
        shards,
        "model.backbone=timm:test_resnet",
        "data.batch_size=8",
        "data.loader_workers=1",
        f"data.cache_dir={tmp_path / 'cache'}",
        "stages.1.epochs=1",
        "stages.2.epochs=1",
        f"stages.3.epochs={EPOCHS - 2}",
    )
    ranks = Ranks(2, tmp_path)
    try:
        for rank, (epochs, left) in enumerate(
            ranks.run(_train, config, run, environment, timeout_s=2900)
        ):
            _show(place, rank, epochs)
            assert len(epochs) == EPOCHS
            assert grown(epochs) == []
            assert left == []
    finally:
        ranks.close()


def _show(place, rank, epochs):
    print(f"\n{place}, rank {rank}: {', '.join(['epoch', 's', 'memory_kib', *COUNTS])}")
    step = max(1, len(epochs) // 10)
    for number in range(step, len(epochs) + 1, step):
        seconds = (epochs[number - 1].ended - epochs[max(number - step, 1) - 1].ended) / step
        held = epochs[number - 1].held
        print(number, f"{seconds:.2f}", held.memory_kib, *(getattr(held, name) for name in COUNTS))


FLAT = Footprint(
    memory_kib=10**6, descriptors=40, threads=10, processes=4, shared_memory=22, files=8
)


def _epochs(**growth):
    """Forty epochs, each with so much more."""
    return [
        Epoch(replace(FLAT, **{k: getattr(FLAT, k) + int(n * v) for k, v in growth.items()}), n)
        for n in range(40)
    ]


@pytest.mark.parametrize("name", COUNTS)
def test_one_thing_in_five_epochs_is_seen_to_leak(name):
    assert grown(_epochs(**{name: 0.2})) == [
        f"{name}: {getattr(FLAT, name) + 2} -> {getattr(FLAT, name) + 6}"
    ]


def test_a_megabyte_an_epoch_is_seen_to_leak_and_a_history_is_not():
    assert grown(_epochs(memory_kib=1024)) == ["memory_kib: 1014848 -> 1035328"]
    assert grown(_epochs(memory_kib=64)) == []


def test_a_checkpoint_on_its_way_is_no_leak():
    epochs = _epochs()
    epochs[25::2] = [Epoch(replace(FLAT, files=10, descriptors=44), 0.0) for _ in epochs[25::2]]
    assert grown(epochs) == []
