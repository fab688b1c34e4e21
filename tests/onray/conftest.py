"""A small real shard set, and runs that only seem to train."""

import json
from pathlib import Path

import pytest

from retdm.onray import launch, stopping, tune_searcher
from retdm.shard.build import build
from retdm.shard.spec import load_spec
from retdm.storage import open_store

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def shards(tmp_path_factory):
    """URL of a shard set of 20 scenes."""
    folder = tmp_path_factory.mktemp("scenes")
    spec, options = load_spec(
        ROOT / "shards/synthetic.toml",
        ["options.images=20", "options.size=32", "shards.samples=10"],
    )
    (folder / "source").mkdir()
    build(spec, options, source=folder / "source", out=str(folder / "shards"))
    return str(folder / "shards")


@pytest.fixture
def words(monkeypatch):
    """What was said, instead of in Ray's key-value store."""
    said = {}

    class Words:
        def put(self, word, value=""):
            said[word] = value

        def get(self, word):
            return said.get(word)

    for module in (stopping, tune_searcher):
        monkeypatch.setattr(module, "Words", Words)
    return said


@pytest.fixture
def training(monkeypatch):
    """Calls to be made while a run trains; `TorchTrainer` then writes a result."""
    calls = []

    class Trainer:
        def __init__(self, worker, *, train_loop_config, **_):
            self.store = open_store(train_loop_config["run"])

        def fit(self):
            for call in calls:
                call()
            result = {"metrics": {"test": {"mAP": 0.5, "OF1": 0.4}}}
            self.store.write("result.json", json.dumps(result).encode())

    monkeypatch.setattr(launch.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(launch.ray, "cluster_resources", lambda: {"CPU": 4.0})
    monkeypatch.setattr(launch.ray.train.torch, "TorchTrainer", Trainer)
    return calls
