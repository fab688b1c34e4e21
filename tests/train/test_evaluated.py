"""A run's best checkpoint on a split: scores, and what the image net made of each image."""

import shutil

import numpy as np
import pytest
import torch

from retdm.data.decode import Decoder
from retdm.data.source import SampleReader
from retdm.data.split import open_split
from retdm.storage import open_store
from retdm.train.evaluated import evaluate_run
from retdm.train.loop import train
from retdm.train.result import conclude
from retdm.train.session import LocalSession
from tests.train.conftest import settings


@pytest.fixture
def damaged(shards, tmp_path):
    """A set whose fourth test image is zeros."""
    url = str(shutil.copytree(shards, tmp_path / "set"))
    data = open_split(url, "test")
    with open(f"{url}/{data.info.shards[0].name}", "r+b") as tar:
        tar.seek(data.table.offsets[3])
        tar.write(bytes(data.table.sizes[3]))
    return url


def test_rows_embeddings_and_scores_are_of_the_same_images_without_bad_ones(damaged, tmp_path):
    config = settings(damaged, "method=bce", "data.batch_size=5", "data.max_bad_samples=1")
    store = open_store(str(tmp_path / "run"))
    result = conclude(train(config, LocalSession(), store))
    calls = []
    found = evaluate_run(
        store, split="test", begin=lambda data, _: calls.append(len(data)) or (lambda: None)
    )
    data = open_split(damaged, "test")
    good = [row for row in range(len(data)) if row != 3]
    assert calls == [len(data)]
    assert found.rows.tolist() == good
    assert found.checkpoint == result["checkpoint"]
    assert np.array_equal(found.targets, data.table.targets[good])
    assert [bad["key"] for bad in found.bad.to_tables()] == [data.table.keys[3]]

    decoder = Decoder.of(image_size=32, resize=0, augment="none")
    reader = SampleReader(data, config.data, window=1)
    pixels = np.empty((len(good), 3, 32, 32), dtype=np.uint8)
    for at, row in enumerate(good):
        decoder.decode(reader.read(row), decoder.centre_crop(), into=pixels[at])
    images = torch.from_numpy(pixels)
    with torch.inference_mode():
        embedded = found.method.embed(images)
    torch.testing.assert_close(found.embeddings, embedded, rtol=1e-4, atol=1e-5)
    scores = found.method.scores(images).numpy()
    np.testing.assert_allclose(found.scores, scores, rtol=1e-4, atol=1e-6)
