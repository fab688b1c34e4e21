import multiprocessing
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from retdm.config import DataSettings
from retdm.data.batch import Batch
from retdm.data.decode import Decoder
from retdm.data.loader import EvaluationLoader, TrainingLoader
from retdm.data.order import epoch_order
from retdm.data.split import open_split
from retdm.errors import ShardError

Sample = tuple[int, bytes, bytes]


def settings_of(url: str, **more: Any) -> DataSettings:
    base = {"url": url, "batch_size": 8, "image_size": 16, "loader_workers": 0}
    return DataSettings(**{**base, "shuffle_window": 2, **more})


def training(url: str, *, rank: int = 0, world: int = 1, **more: Any) -> TrainingLoader:
    return TrainingLoader(
        open_split(url, "train"), settings_of(url, **more), seed=3, rank=rank, world_size=world
    )


def samples(batch: Batch) -> list[Sample]:
    """What counts in a batch: row, pixels and targets of each valid row."""
    return [
        (int(row), image.numpy().tobytes(), target.numpy().tobytes())
        for row, image, target, valid in zip(
            batch.indices, batch.images, batch.targets, batch.valid, strict=True
        )
        if valid
    ]


def joined(ranks: Iterable[Iterable[Batch]]) -> list[list[Sample]]:
    """Global batches put together again from those of the ranks."""
    return [
        [sample for part in parts for sample in samples(part)]
        for parts in zip(*ranks, strict=True)
    ]


@pytest.fixture(scope="module")
def unbroken(tiny_set: str) -> list[list[Sample]]:
    """Epoch 1 as one process without loader processes reads it."""
    return joined([training(tiny_set).epoch(1)])


def test_batches_are_what_plan_and_decoder_say(
    tiny_set: str, make_jpeg: Callable[..., bytes], unbroken: list[list[Sample]]
) -> None:
    data = open_split(tiny_set, "train")
    order = epoch_order(
        data.shard_sizes, digest=data.digest, split="train", seed=3, epoch=1, window=2
    )
    decoder = Decoder.of(image_size=16, resize=0, augment="corner-crop")
    wanted = []
    for row in order.rows(0, 22).tolist():
        pixels = np.empty((3, 16, 16), dtype=np.uint8)
        crop = decoder.training_crop(seed=3, epoch=1, row=row)
        decoder.decode(make_jpeg(row), crop, into=pixels, where="")
        targets = np.array([bool(row >> bit & 1) for bit in range(3)])
        wanted.append((row, pixels.tobytes(), targets.tobytes()))
    assert unbroken == [wanted[:8], wanted[8:16], wanted[16:]]


@pytest.mark.parametrize("world", [2, 3, 8])
def test_content_does_not_depend_on_the_number_of_workers(
    tiny_set: str, unbroken: list[list[Sample]], world: int
) -> None:
    loaders = [training(tiny_set, rank=rank, world=world) for rank in range(world)]
    assert {loader.batches_per_epoch for loader in loaders} == {3}
    assert joined(loader.epoch(1) for loader in loaders) == unbroken


def test_ranks_get_equal_rows_and_at_least_two(tiny_set: str) -> None:
    for world, rows in ((3, [3, 3, 2]), (8, [2, 2, 2])):
        for rank in range(world):
            batches = list(training(tiny_set, rank=rank, world=world).epoch(0))
            assert [len(batch.images) for batch in batches] == rows
            assert [batch.global_size for batch in batches] == [8, 8, 6]


def test_a_filled_up_row_has_the_pixels_of_the_sample_it_repeats(tiny_set: str) -> None:
    (whole, *_) = training(tiny_set).epoch(0)
    (part, *_) = training(tiny_set, rank=7, world=8).epoch(0)
    assert part.valid.tolist() == [True, False]
    for row, image in zip(part.indices, part.images, strict=True):
        assert (image == whole.images[whole.indices == row][0]).all()


@pytest.mark.parametrize("start", [0, 1, 2, 3])
def test_resuming_gives_the_tail_of_the_epoch(
    tiny_set: str, unbroken: list[list[Sample]], start: int
) -> None:
    loaders = [training(tiny_set, rank=rank, world=2) for rank in range(2)]
    assert joined(loader.epoch(1, start) for loader in loaders) == unbroken[start:]


def test_loader_processes_change_nothing_and_live_across_epochs(
    tiny_set: str, unbroken: list[list[Sample]]
) -> None:
    before = set(multiprocessing.active_children())
    loader = training(tiny_set, loader_workers=2)
    abandoned = loader.epoch(0)
    next(abandoned)
    abandoned.close()  # type: ignore[attr-defined]
    processes = set(multiprocessing.active_children()) - before
    assert len(processes) == 2
    assert joined([loader.epoch(1)]) == unbroken
    assert joined([loader.epoch(1, 2)]) == unbroken[2:]
    assert set(multiprocessing.active_children()) - before == processes
    loader.close()
    for process in processes:
        process.join(20)
    assert not set(multiprocessing.active_children()) - before


def test_epochs_differ_in_order_and_pixels(tiny_set: str, unbroken: list[list[Sample]]) -> None:
    other = joined([training(tiny_set).epoch(2)])
    assert [s[0] for b in other for s in b] != [s[0] for b in unbroken for s in b]
    pixels = {row: image for batch in other for row, image, _ in batch}
    assert any(pixels[row] != image for batch in unbroken for row, image, _ in batch)


def test_augmentation_can_be_turned_off_for_an_epoch(tiny_set: str) -> None:
    loader = training(tiny_set)
    plain = {row: image for b in joined([loader.epoch(0, augment=False)]) for row, image, _ in b}
    centre = EvaluationLoader(
        open_split(tiny_set, "train"),
        settings_of(tiny_set),
        rank=0,
        world_size=1,
        batch_size=5,
    )
    assert plain == {row: image for b in joined([centre.batches()]) for row, image, _ in b}


@pytest.mark.parametrize("world", [1, 2, 5, 30])
def test_evaluation_counts_each_sample_once_in_table_order(tiny_set: str, world: int) -> None:
    data, settings = open_split(tiny_set, "train"), settings_of(tiny_set)
    loaders = [
        EvaluationLoader(data, settings, rank=rank, world_size=world, batch_size=9)
        for rank in range(world)
    ]
    assert {len(loader) for loader in loaders} == {3}
    rows = [s[0] for batch in joined(loader.batches() for loader in loaders) for s in batch]
    assert rows == list(range(22))


def test_loading_leaves_the_global_random_state_alone(tiny_set: str) -> None:
    state = torch.get_rng_state()
    list(training(tiny_set).epoch(0))
    assert torch.equal(torch.get_rng_state(), state)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_damaged_sample_is_named_without_a_worker_traceback(
    tiny_set: str, tmp_path: Path, workers: int
) -> None:
    url = str(shutil.copytree(tiny_set, tmp_path / "set"))
    (tmp_path / "set/train/000001.tar").write_bytes(bytes(10240))
    loader = training(url, loader_workers=workers)
    with pytest.raises(ShardError, match=r"^.*train/000001.tar: sample 'photo-005': sha256") as e:
        list(loader.epoch(0))
    assert "Traceback" not in str(e.value)
    loader.close()


@pytest.mark.parametrize("damage", [b"", b"\xff\xd8\xff\xe0 cut short"])
def test_an_image_that_was_packed_damaged_is_named(
    tmp_path: Path, build_set: Callable[..., Any], make_jpeg: Callable[..., bytes], damage: bytes
) -> None:
    build_set(str(tmp_path), [make_jpeg(0), damage])
    message = r"train/000000.tar: sample 'photo-001': .*; replace the photo or leave it out"
    with pytest.raises(ShardError, match=message):
        list(training(str(tmp_path)).epoch(0))


def test_s3_gives_the_same_batches_as_a_folder(
    s3: Any,
    tmp_path: Path,
    build_set: Callable[..., Any],
    make_jpeg: Callable[..., bytes],
    unbroken: list[list[Sample]],
) -> None:
    url = s3.url("set")
    build_set(url, [make_jpeg(i) for i in range(22)], per_shard=(5, 1, 7, 0, 6, 3))
    cached = training(url, loader_workers=2, cache_dir=str(tmp_path / "cache"), read_ahead=2)
    assert joined([cached.epoch(1)]) == unbroken
    cached.close()
    sizes = [shard.bytes for shard in open_split(url, "train").info.shards if shard.samples]
    held = [path.stat().st_size for path in (tmp_path / "cache").glob("*.tar")]
    assert sorted(held) == sorted(sizes)
    assert joined([training(url, read="ranges").epoch(1)]) == unbroken
    limit = sum(sorted(sizes)[-4:])  # two windows of two shards
    small = training(
        url, cache_dir=str(tmp_path / "small"), cache_bytes=limit, read_ahead=0, batch_size=1
    )
    order = [s[0] for batch in unbroken for s in batch]
    for at, batch in enumerate(small.epoch(1)):
        assert samples(batch)[0][0] == order[at]
        held = [path.stat().st_size for path in (tmp_path / "small").glob("*.tar")]
        assert 0 < sum(held) <= limit
