"""A small real shard set of rendered scenes, and settings that train on it in seconds."""

from pathlib import Path

import pytest

from retdm.config import Config, apply_overrides, parse
from retdm.shard.build import build
from retdm.shard.spec import load_spec

ROOT = Path(__file__).resolve().parents[2]
SMALL = (
    "data.batch_size=16",
    "data.image_size=32",
    "data.loader_workers=0",
    "model.backbone=timm:test_resnet",
    "model.weights=none",
    "model.embedding=16",
    "loss.k=3",
    "bank.size=24",
    "bank.warmup_steps=1",
    "optimizer.lr=0.01",
    "optimizer.min_lr=0.001",
    "stages.*.epochs=1",
)


@pytest.fixture(scope="session")
def shards(tmp_path_factory: pytest.TempPathFactory) -> str:
    """URL of a shard set of 60 scenes in tars of 10."""
    folder = tmp_path_factory.mktemp("scenes")
    spec, options = load_spec(
        ROOT / "shards/synthetic.toml",
        ["options.images=60", "options.size=48", "shards.samples=10"],
    )
    (folder / "source").mkdir()
    build(spec, options, source=folder / "source", out=str(folder / "shards"))
    return str(folder / "shards")


def settings(url: str, *overrides: str) -> Config:
    """Settings of a run on the shard set at `url`."""
    table = apply_overrides({}, [f"data.url={url}", *SMALL, *overrides])
    return parse(Config, table, source="test")


@pytest.fixture
def small(shards: str):
    """`small("seed=1", ...)`: settings of a run on `shards`."""
    return lambda *overrides: settings(shards, *overrides)
