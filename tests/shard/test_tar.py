"""The tars: those that webdataset's own writer gives, readable by its own reader."""

import hashlib
import io
import json
import tarfile

import pytest
import webdataset as wds
from hypothesis import given
from hypothesis import strategies as st

from retdm.shard.photo import Photo
from retdm.shard.tar import TarShard, description, header, read_samples, size_in_tar

SAMPLES = [
    ("a", Photo(b"x" * 511, "jpg", 1, 1)),
    ("é" * 60, Photo(b"y" * 513, "png", 1, 1)),
    ("k" * 150, Photo(b"z" * 512, "jpg", 1, 1)),
]


@pytest.fixture
def shard(tmp_path):
    with (tmp_path / "x.tar").open("wb") as file:
        tar = TarShard(file)
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


def test_offsets_sizes_and_digest_are_known_while_writing():
    file = io.BytesIO()
    tar = TarShard(file)
    places = [tar.add(key, photo, b"{}") for key, photo in SAMPLES]
    tar.close()
    content = file.getvalue()
    assert tar.bytes == len(content)
    assert tar.sha256 == hashlib.sha256(content).hexdigest()
    for (key, photo), members, place in zip(SAMPLES, tar.members, places, strict=True):
        assert [m.ext for m in members] == sorted([photo.suffix, "json"])
        assert place in members
        assert content[place.offset : place.offset + place.size] == photo.content
        assert place.name == f"{key}.{photo.suffix}"


def test_the_members_are_those_of_the_tar(shard):
    found = [tuple(member for member, _ in files.values()) for _, files in read_samples(shard)]
    tar = TarShard(io.BytesIO())
    for key, photo in SAMPLES:
        tar.add(key, photo, description(key, [1], ["sea", "sky"]))
    assert tar.members == found


NAMES = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1)


@given(st.one_of(NAMES, st.text("ab", min_size=95, max_size=105)), st.integers(0, 8**12))
def test_headers_are_those_of_tarfile(name, size):
    info = tarfile.TarInfo(name)
    info.size, info.mode = size, 0o444
    info.uname = info.gname = "retdm"
    assert header(name, size) == info.tobuf(tarfile.PAX_FORMAT, "utf-8")


def test_no_clock_and_no_owner(shard):
    with tarfile.open(shard) as tar:
        for info in tar:
            assert (info.mtime, info.mode, info.uid, info.gid) == (0, 0o444, 0, 0)
            assert (info.uname, info.gname) == ("retdm", "retdm")


def test_the_size_foreseen_is_that_of_short_names():
    tar = TarShard(io.BytesIO())
    foreseen = 0
    for key, photo in SAMPLES[:1] * 3:
        tar.add(key, photo, b"{}")
        foreseen += size_in_tar(len(photo.content), 2)
    assert tar.bytes == foreseen


@pytest.mark.parametrize("cut", range(512, 8000, 512))
def test_a_cut_is_noticed_wherever_it_is(shard, cut):
    content = shard.read_bytes()
    with tarfile.open(shard) as tar:
        tar.getmembers()
        end = tar.offset + 1024
    shard.write_bytes(content[: min(cut, end - 512)])
    with pytest.raises((tarfile.TarError, EOFError)):
        list(read_samples(shard))


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE])
def test_what_is_no_plain_file_is_damage(tmp_path, kind):
    info = tarfile.TarInfo("a.jpg")
    info.type, info.linkname = kind, "/etc/passwd"
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        tar.addfile(info)
    with pytest.raises(tarfile.TarError, match=r"'a\.jpg' is not a plain file"):
        list(read_samples(tmp_path / "a.tar"))
