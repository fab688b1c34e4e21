import multiprocessing
import shutil
import tempfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import hypothesis
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

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
def photos(make_jpeg: Callable[..., bytes]) -> list[bytes]:
    """As many as the largest set here has."""
    return [make_jpeg(number) for number in range(72)]


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
        decoder.decode(make_jpeg(row), crop, into=pixels)
        targets = np.array([bool(row >> bit & 1) for bit in range(3)])
        wanted.append((row, pixels.tobytes(), targets.tobytes()))
    assert unbroken == [wanted[:8], wanted[8:16], wanted[16:]]


# Empty shards, fewer shards than ranks, and one that outweighs the others.
SIZES = st.one_of(
    st.lists(st.integers(0, 9), min_size=1, max_size=8).filter(any),
    st.builds(
        lambda few, many: [*few, many], st.lists(st.integers(0, 2), max_size=4), st.just(25)
    ),
)


@given(
    sizes=SIZES,
    batch_size=st.integers(1, 11),
    window=st.integers(0, 4),
    worlds=st.tuples(st.sampled_from([1, 2, 3, 4]), st.sampled_from([8, 64])),
    data=st.data(),
)
@hypothesis.settings(deadline=None, max_examples=12)
def test_any_shards_are_read_exactly_once_and_resumed_anywhere_by_any_world(
    build_set: Callable[..., Any],
    photos: list[bytes],
    sizes: list[int],
    batch_size: int,
    window: int,
    worlds: tuple[int, int],
    data: st.DataObject,
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        build_set(folder, photos[: sum(sizes)], per_shard=sizes)
        settings = settings_of(f"file://{folder}", batch_size=batch_size, shuffle_window=window)
        split = open_split(settings.url, "train")

        def read(world: int, start: int = 0) -> list[list[Sample]]:
            loaders = [
                TrainingLoader(split, settings, seed=3, rank=rank, world_size=world)
                for rank in range(world)
            ]
            return joined(loader.epoch(1, start) for loader in loaders)

        whole = read(1)
        assert sorted(row for batch in whole for row, *_ in batch) == list(range(sum(sizes)))
        for world in worlds:
            start = data.draw(st.integers(0, len(whole)))
            assert read(world, start) == whole[start:]
            scoring = [
                EvaluationLoader(
                    split, settings, rank=rank, world_size=world, batch_size=batch_size
                )
                for rank in range(world)
            ]
            rows = [
                s[0] for batch in joined(loader.batches() for loader in scoring) for s in batch
            ]
            assert rows == list(range(sum(sizes)))


@pytest.mark.parametrize("world", [2, 3, 4, 8, 64])
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


def test_one_evaluation_loader_gives_any_batches_any_number_of_times(tiny_set: str) -> None:
    loader = EvaluationLoader(
        open_split(tiny_set, "train"), settings_of(tiny_set), rank=0, world_size=1, batch_size=5
    )
    whole = joined([loader.batches()])
    for start, stop in ((2, 4), (0, 1), (4, 5), (1, 1)):
        assert joined([loader.batches(start, stop)]) == whole[start:stop]


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
    # A cache that lacks some shards, shared by ranks that begin in the middle of the epoch.
    for path in sorted((tmp_path / "cache").glob("*.tar"))[::2]:
        path.unlink()
    ranks = [
        training(url, rank=rank, world=3, cache_dir=str(tmp_path / "cache"), read_ahead=1)
        for rank in range(3)
    ]
    assert joined(loader.epoch(1, 1) for loader in ranks) == unbroken[1:]
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
