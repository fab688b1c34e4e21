"""What loader processes count reaches the training process with their batches."""

import pytest

from retdm.config import DataSettings
from retdm.counts import COUNTS
from retdm.data.loader import EvaluationLoader, TrainingLoader
from retdm.data.split import open_split
from retdm.storage import open_store


@pytest.fixture
def counted():
    """This process counts from 0."""
    COUNTS.take()


def _settings(url, **more):
    return DataSettings(url=url, batch_size=4, image_size=24, **more)


@pytest.mark.parametrize("processes", [0, 1])
def test_images_of_steps_and_of_scores_are_counted_once_each(tiny_set, counted, processes):
    settings, data = _settings(tiny_set, loader_workers=processes), open_split(tiny_set, "train")
    loaders = [
        TrainingLoader(data, settings, seed=0, rank=rank, world_size=2) for rank in range(2)
    ]
    for loader in loaders:
        list(loader.epoch(0))
        loader.close()
    assert COUNTS.of("training_images") == len(data)
    scoring = EvaluationLoader(data, settings, rank=0, world_size=1, batch_size=4)
    list(scoring.batches())
    scoring.close()
    assert COUNTS.of("evaluation_images") == len(data)


@pytest.mark.parametrize("processes", [0, 1])
def test_bytes_hits_and_misses_of_loader_processes_arrive(
    s3, tiny_set, tmp_path, counted, processes
):
    url, source = s3.url(), open_store(tiny_set)
    for name in source.names():
        open_store(url).write(name, source.read(name))
    cache = str(tmp_path / "cache")
    settings = _settings(url, loader_workers=processes, cache_dir=cache, read_ahead=0)
    data = open_split(url, "train")
    loader = TrainingLoader(data, settings, seed=0, rank=0, world_size=1)
    COUNTS.take()
    list(loader.epoch(0))
    shards = [shard for shard in data.info.shards if shard.samples]
    assert COUNTS.of("s3_read_bytes") == sum(shard.bytes for shard in shards)
    assert COUNTS.of("cache_misses") == len(shards)
    hits = COUNTS.of("cache_hits")
    list(loader.epoch(1))
    loader.close()
    assert COUNTS.of("s3_read_bytes") == sum(shard.bytes for shard in shards)
    assert COUNTS.of("cache_misses") == len(shards)
    assert COUNTS.of("cache_hits") == hits + len(data)
