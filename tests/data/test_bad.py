"""Bad images: replaced in training, left out of evaluation, counted, never more than allowed."""

from collections.abc import Callable
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from retdm.config import DataSettings
from retdm.data.bad import BadSample, BadSamples
from retdm.data.batch import Batch
from retdm.data.loader import EvaluationLoader, TrainingLoader
from retdm.data.split import open_split
from retdm.errors import BadSampleError

BAD = (4, 9, 10, 11)
SETTINGS = {"batch_size": 8, "image_size": 16, "shuffle_window": 2, "loader_workers": 0}


@pytest.fixture(scope="module")
def damaged(
    tmp_path_factory: pytest.TempPathFactory,
    build_set: Callable[..., Any],
    make_jpeg: Callable[..., bytes],
) -> str:
    """22 samples, four of which were packed although they cannot be decoded."""
    url = str(tmp_path_factory.mktemp("damaged"))
    images = [make_jpeg(i)[: 90 if i in BAD else None] for i in range(22)]
    build_set(url, images, per_shard=(5, 1, 7, 0, 6, 3))
    return url


def training(url: str, *, rank: int = 0, world: int = 1, **more: Any) -> TrainingLoader:
    settings = DataSettings(**{**SETTINGS, "max_bad_samples": 9, **more}, url=url)
    return TrainingLoader(open_split(url, "train"), settings, seed=3, rank=rank, world_size=world)


def samples(batch: Batch) -> list[tuple[int, bytes, bytes]]:
    return [
        (int(row), image.numpy().tobytes(), target.numpy().tobytes())
        for row, image, target, valid in zip(
            batch.indices, batch.images, batch.targets, batch.valid, strict=True
        )
        if valid
    ]


def joined(loaders: list[TrainingLoader]) -> list[list[tuple[int, bytes, bytes]]]:
    epochs = [[samples(batch) for batch in loader.epoch(1)] for loader in loaders]
    return [list(chain.from_iterable(parts)) for parts in zip(*epochs, strict=True)]


def test_the_next_good_sample_of_the_batch_takes_the_place(damaged: str, tiny_set: str) -> None:
    wanted = joined([training(tiny_set)])  # the same photos, none of them damaged
    # Another manifest, another order: so compare batch by batch with the plan of `damaged`.
    loader = training(damaged)
    found = joined([loader])
    assert [len(batch) for batch in found] == [len(batch) for batch in wanted] == [8, 8, 6]
    content = {sample[0]: sample for batch in wanted for sample in batch}
    planned = [order_rows(damaged)[at : at + 8] for at in range(0, 22, 8)]
    assert any(row in BAD for rows in planned for row in rows)
    for rows, batch in zip(planned, found, strict=True):
        for at, row in enumerate(rows):
            stands = next(r for r in [*rows[at:], *rows[:at]] if r not in BAD)
            assert batch[at][0] == (stands if row in BAD else row)
            # Its own pixels and labels: (seed, epoch, sample) decide, not the place.
            assert batch[at] == content[batch[at][0]]


def order_rows(url: str) -> list[int]:
    """The rows of epoch 1 as planned."""
    from retdm.data.order import epoch_order

    data = open_split(url, "train")
    order = epoch_order(
        data.shard_sizes, digest=data.digest, split="train", seed=3, epoch=1, window=2
    )
    return [int(row) for row in order.rows(0, len(data))]


@pytest.mark.parametrize("world", [2, 3, 8, 11])
def test_any_number_of_workers_puts_the_same_sample_there(damaged: str, world: int) -> None:
    alone = joined([training(damaged)])
    assert joined([training(damaged, rank=r, world=world) for r in range(world)]) == alone


def test_loader_processes_hand_the_bad_ones_over(damaged: str) -> None:
    apart, here = training(damaged, loader_workers=1), training(damaged)
    assert joined([apart]) == joined([here])
    apart.close()
    assert apart.bad.to_tables() == here.bad.to_tables()
    assert here.bad.to_tables()[0]["split"] == "train"
    assert [(bad.shard, bad.key) for bad in here.bad.samples()] == [
        ("train/000000.tar", "photo-004"),
        ("train/000002.tar", "photo-009"),
        ("train/000002.tar", "photo-010"),
        ("train/000002.tar", "photo-011"),
    ]
    assert all(bad.reason.startswith("cannot be decoded (") for bad in here.bad.samples())
    list(here.epoch(2))  # counted once, however often they are met
    assert len(here.bad) == len(BAD)


def test_without_allowance_the_first_one_ends_the_run(damaged: str) -> None:
    message = (
        r"/train/00000\d.tar: sample 'photo-0\d\d': cannot be decoded \(.*\); replace the photo "
        r"or leave it out, and rebuild the shard set; or allow for it by data.max_bad_samples, "
        r"which is 0$"
    )
    with pytest.raises(BadSampleError, match=message):
        list(training(damaged, max_bad_samples=0).epoch(0))


def test_one_too_many_ends_the_run(damaged: str) -> None:
    message = r"data.max_bad_samples, which is 3 \(this run's bad image number 4\)$"
    with pytest.raises(BadSampleError, match=message):
        list(training(damaged, max_bad_samples=3).epoch(0))


def test_a_batch_of_bad_images_only_is_an_error(
    tmp_path: Path, build_set: Callable[..., Any], make_jpeg: Callable[..., bytes]
) -> None:
    build_set(str(tmp_path), [make_jpeg(i)[:90] for i in range(4)])
    with pytest.raises(BadSampleError, match="cannot be decoded"):
        list(training(str(tmp_path)).epoch(0))


@pytest.mark.parametrize("world", [1, 3])
def test_evaluation_leaves_them_out(damaged: str, world: int) -> None:
    settings = DataSettings(**SETTINGS, url=damaged, max_bad_samples=4)
    data, rows, counts = open_split(damaged, "train"), [], []
    for rank in range(world):
        loader = EvaluationLoader(data, settings, rank=rank, world_size=world, batch_size=5)
        batches = list(loader.batches())
        rows += [sample[0] for batch in batches for sample in samples(batch)]
        counts.append(len(batches))
        black = [batch.images[batch.indices == row] for batch in batches for row in BAD]
        assert all(np.count_nonzero(images) == 0 for images in black)
    assert sorted(rows) == [row for row in range(22) if row not in BAD]
    assert counts == [5] * world


def test_what_a_checkpoint_knew_is_not_counted_again() -> None:
    known = BadSample("train", "t.tar", "a", "cut off")
    bad = BadSamples(1, [known])
    bad.add([BadSample("train", "t.tar", "a", "other words")], url="u")
    assert bad.to_tables() == [
        {"split": "train", "shard": "t.tar", "key": "a", "reason": "cut off"}
    ]
    with pytest.raises(BadSampleError, match=r"^u/v.tar: sample 'a': cut off; or allow for it"):
        bad.add([BadSample("val", "v.tar", "a", "cut off")], url="u")
