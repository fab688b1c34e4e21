"""The tars: those that webdataset's own writer gives, readable by its own reader."""

import json
import tarfile

import pytest
import webdataset as wds

from retdm.shard.photo import Photo
from retdm.shard.tar import TarShard, description, read_members, read_samples, size_in_tar

SAMPLES = [
    ("a", Photo(b"x" * 511, "jpg", 1, 1)),
    ("é" * 60, Photo(b"y" * 513, "png", 1, 1)),
    ("k" * 150, Photo(b"z" * 512, "jpg", 1, 1)),
]


@pytest.fixture
def shard(tmp_path):
    tar = TarShard(tmp_path / "x.tar")
    for key, photo in SAMPLES:
        tar.add(key, photo, description(key, [1], ["sea", "sky"]))
    tar.close()
    return tmp_path / "x.tar"


def test_same_bytes_as_the_writer_of_webdataset(shard, tmp_path):
    with (
        (tmp_path / "y.tar").open("wb") as file,
        wds.TarWriter(
            file, user="retdm", group="retdm", mode=0o444, mtime=0, encoder=False
        ) as other,
    ):
        for key, photo in SAMPLES:
            text = description(key, [1], ["sea", "sky"])
            other.write({"__key__": key, photo.suffix: photo.content, "json": text})
    assert shard.read_bytes() == (tmp_path / "y.tar").read_bytes()


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_stock_webdataset_reads_it(shard):
    found = list(wds.WebDataset(str(shard), shardshuffle=False))
    assert [sample["__key__"] for sample in found] == [key for key, _ in SAMPLES]
    assert [sample.get("jpg", sample.get("png")) for sample in found] == [
        photo.content for _, photo in SAMPLES
    ]
    assert json.loads(found[0]["json"]) == {"key": "a", "label_ids": [1], "labels": ["sky"]}


def test_offsets_lead_to_the_data(shard):
    content = shard.read_bytes()
    for (key, photo), members in zip(SAMPLES, read_members(shard), strict=True):
        assert [m.ext for m in members] == sorted([photo.suffix, "json"])
        (image,) = [m for m in members if m.ext == photo.suffix]
        assert content[image.offset : image.offset + image.size] == photo.content
        assert image.name == f"{key}.{photo.suffix}"


def test_no_clock_and_no_owner(shard):
    with tarfile.open(shard) as tar:
        for info in tar:
            assert (info.mtime, info.mode, info.uid, info.gid) == (0, 0o444, 0, 0)
            assert (info.uname, info.gname) == ("retdm", "retdm")


def test_the_size_kept_while_writing_is_right(tmp_path):
    tar = TarShard(tmp_path / "x.tar")
    contents = []
    for key, photo in SAMPLES[:1] * 3:
        tar.add(key, photo, b"{}")
        contents += [photo.content, b"{}"]
    tar.close()
    with tarfile.open(tmp_path / "x.tar") as found:
        found.getmembers()
        assert tar.bytes == size_in_tar(*contents) == found.offset


@pytest.mark.parametrize("cut", range(512, 8000, 512))
def test_a_cut_is_noticed_wherever_it_is(shard, cut):
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        tar.getmembers()
        end = tar.offset + 1024
    shard.write_bytes(content[: min(cut, end - 512)])
    with pytest.raises((tarfile.TarError, EOFError)):
        list(read_samples(shard))
