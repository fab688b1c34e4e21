"""`python -m retdm.shard adopt`: tars that others wrote, by stock writers and odd ones."""

import io
import json
import os
import shutil
import subprocess
import tarfile
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import hypothesis.strategies as st
import numpy as np
import pytest
import webdataset as wds
from hypothesis import given, settings

from retdm.config import DataSettings
from retdm.data.index import parse_index
from retdm.data.loader import TrainingLoader
from retdm.data.source import SampleReader
from retdm.data.split import SplitData, open_split
from retdm.errors import ConfigError, DatasetError
from retdm.shard.adopt_rules import AdoptRules, FaultySampleError
from retdm.shard.adopt_set import FaultyTarsError, adopt
from retdm.shard.adopt_splits import tars_of_splits
from retdm.shard.adopt_tar import foreign_samples
from retdm.shard.stats import stats
from retdm.shard.verify import verify
from retdm.storage import open_store

Sample = dict[str, Any]
CLS = AdoptRules(labels="cls")


@pytest.fixture
def birds(tmp_path: Path, image: Callable[..., bytes]) -> Path:
    """Twenty photos and five, as wds.ShardWriter packs them."""
    folder = tmp_path / "birds"
    folder.mkdir()
    for split, numbers in (("train", range(20)), ("val", range(20, 25))):
        with wds.ShardWriter(f"{folder}/birds-{split}-%06d.tar", maxcount=6, verbose=0) as writer:
            for n in numbers:
                tags = [("sea", "sky", "boat")[i] for i in range(3) if n >> i & 1]
                described = {"meta": {"tags": tags, "ids": [n % 3], "hot": [n & 1, n >> 1 & 1, 0]}}
                writer.write({
                    "__key__": f"photo/{n:03d}", "jpg": image(n), "cls": n % 4,
                    "json": described, "txt": "; ".join(tags), "weight.pyd": n,
                })  # fmt: skip
    return folder


def test_build_never_removes_what_was_adopted(
    birds: Path, pack: Callable[..., Any], tmp_path: Path
) -> None:
    folder = tmp_path / "set"
    (folder / "train").mkdir(parents=True)
    shutil.copy(birds / "birds-train-000000.tar", folder / "train/000000.tar")
    adopt(str(folder), CLS)
    with pytest.raises(ConfigError, match=r"holds an adopted shard set, whose tars are somebody"):
        pack(folder, overwrite=True)
    assert verify(str(folder)) == []


def packed(path: Path, *samples: Sample, **options: Any) -> Path:
    """A tar of dicts with "__key__" by wds.TarWriter; in its folder, which is returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with wds.TarWriter(str(path), encoder=False, **options) as writer:
        for sample in samples:
            writer.write(sample)
    return path.parent


def members(path: Path, *files: tuple[str, bytes], form: int = tarfile.PAX_FORMAT) -> Path:
    """A tar of single files; in its folder, which is returned."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w", format=form) as tar:
        for name, content in files:
            info = tarfile.TarInfo(name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path.parent


def rows(data: SplitData) -> list[tuple[str, list[str], bytes]]:
    """Key, label names and image of each row, as training reads them."""
    reader = SampleReader(data, DataSettings(url=data.url), window=1)
    return [
        (
            data.table.keys[row],
            [data.manifest.labels[column] for column in np.flatnonzero(data.table.targets[row])],
            reader.read(row),
        )
        for row in range(len(data))
    ]


def contents(folder: Path) -> dict[str, bytes]:
    files = (path for path in folder.rglob("*") if path.is_file())
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.rglob("*.tar")}


def faults_of(folder: Path, rules: AdoptRules = CLS, **options: Any) -> list[str]:
    """What is wrong, one by one; nothing may have been written."""
    before = contents(folder)
    with pytest.raises(FaultyTarsError) as caught:
        adopt(str(folder), rules, **options)
    assert contents(folder) == before
    return [str(fault) for fault in caught.value.faults]


# ---- whole sets


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_rows_are_what_webdataset_reads(birds):
    before, then = contents(birds), times(birds)
    adopt(str(birds), AdoptRules(labels="json:meta.tags"))
    for split in ("train", "val"):
        tars = sorted(str(path) for path in birds.glob(f"*{split}*.tar"))
        stock = wds.WebDataset(tars, shardshuffle=False, empty_check=False)
        assert rows(open_split(str(birds), split)) == [
            (s["__key__"], sorted(json.loads(s["json"])["meta"]["tags"]), s["jpg"]) for s in stock
        ]
    after = contents(birds)
    assert {name: after[name] for name in before} == before
    assert times(birds) == then
    assert sorted(set(after) - set(before)) == [
        *(f"birds-train-00000{n}.idx" for n in range(4)),
        *("birds-val-000000.idx", "manifest.json", "train/labels.parquet", "val/labels.parquet"),
    ]


def test_it_is_a_shard_set_like_others(birds, cli):
    assert cli("adopt", birds, "--labels", "cls")[0] == 0
    assert verify(str(birds)) == []
    counts = stats(str(birds))
    assert (counts["labels"], counts["total"]["samples"]) == (["0", "1", "2", "3"], 25)
    options = {"batch_size": 8, "image_size": 16, "loader_workers": 0}
    data = open_split(str(birds), "train")
    loader = TrainingLoader(data, DataSettings(url=str(birds), **options), seed=0, rank=0,
                            world_size=1)  # fmt: skip
    seen = [(row, t) for b in loader.epoch(0) for row, t in zip(b.indices, b.targets, strict=True)]
    assert sorted(int(row) for row, _ in seen) == list(range(20))
    assert all(target[int(data.table.keys[row][-3:]) % 4] for row, target in seen)


def test_the_index_is_that_of_dali(birds):
    adopt(str(birds), CLS)
    tar = birds / "birds-train-000001.tar"
    content = tar.read_bytes()
    listed = parse_index(tar.with_suffix(".idx").read_bytes(), name="idx")
    with tarfile.open(tar) as opened:
        assert [member.name for files in listed for member in files] == opened.getnames()
        for member in (member for files in listed for member in files):
            found = opened.extractfile(member.name).read()
            assert content[member.offset : member.offset + member.size] == found
    assert [member.ext for member in listed[0]] == ["cls", "jpg", "json", "txt", "weight.pyd"]


def test_twice_and_in_parallel_it_gives_the_same_bytes(birds, tmp_path):
    shutil.copytree(birds, tmp_path / "other/birds")
    first, second = (
        adopt(str(folder), CLS, workers=workers).manifest.digest
        for folder, workers in ((birds, 1), (tmp_path / "other/birds", 2))
    )
    assert first == second
    assert contents(birds) == contents(tmp_path / "other/birds")
    before = contents(birds)
    adopt(str(birds), CLS, overwrite=True)
    assert contents(birds) == before


def test_a_manifest_is_not_replaced_unasked(birds, cli):
    assert cli("adopt", birds, "--labels", "txt")[0] == 0
    before = contents(birds)
    status, out, err = cli("adopt", birds, "--labels", "cls", "--split", "all=*")
    assert (status, out) == (2, "")
    assert err == (
        f"error: {birds}: holds a manifest.json already; check it with `python -m retdm.shard "
        f"verify {birds}`, or pass --overwrite to replace it\n"
    )
    assert contents(birds) == before
    assert cli("adopt", birds, "--labels", "cls", "--split", "all=*", "--overwrite")[0] == 0
    assert verify(str(birds)) == []
    assert not (birds / "train/labels.parquet").exists()


def test_what_a_killed_run_left_is_completed(birds):
    adopt(str(birds), CLS)
    whole = contents(birds)
    (birds / "manifest.json").unlink()
    (birds / "val/labels.parquet").unlink()
    adopt(str(birds), CLS)
    assert contents(birds) == whole


def test_files_of_others_are_not_replaced_unasked(birds):
    (birds / "birds-val-000000.idx").write_text("mine")
    with pytest.raises(ConfigError, match=r"birds-val-000000\.idx: is there already and is not"):
        adopt(str(birds), CLS)
    assert not (birds / "manifest.json").exists()
    (birds / "README.md").write_text("about birds")
    adopt(str(birds), CLS, overwrite=True)
    assert verify(str(birds)) == []


def test_a_manifest_of_others_stays(birds):
    (birds / "manifest.json").write_text('{"files": 7}')
    with pytest.raises(
        ConfigError, match=r"manifest\.json: .* \(or move it away, if it is not of"
    ):
        adopt(str(birds), CLS, overwrite=True)
    assert (birds / "manifest.json").read_text() == '{"files": 7}'


def test_verify_names_what_was_changed(birds, cli):
    adopt(str(birds), AdoptRules(labels="txt"))
    tar = birds / "birds-train-000000.tar"
    content = tar.read_bytes()
    at = content.index(b"sea; sky")
    tar.write_bytes(content[:at] + b"sky; sky" + content[at + 8 :])
    status, out, _ = cli("verify", birds)
    assert status == 1
    assert "birds-train-000000.tar: sha256 is " in out
    assert "sample 'photo/003': labels [2], the label table says [1, 2]" in out
    tar.write_bytes(content[:-10240])
    assert "damaged behind sample 5: it is damaged or cut off" in cli("verify", birds)[1]


@pytest.mark.cluster
def test_on_s3(s3, birds, cli, tmp_path):
    url = s3.url("birds")
    store = open_store(url)
    for name, content in contents(birds).items():
        store.write(name, content)
    name = ("--name", "birds")
    assert cli("adopt", url, "--labels", "json:meta.tags", *name)[0] == 0
    assert cli("adopt", birds, "--labels", "json:meta.tags", *name)[0] == 0
    assert {name: store.read(name) for name in store.names()} == contents(birds)
    assert verify(url) == []
    store.delete("manifest.json")
    status, _, err = cli("adopt", url)
    assert status == 2
    assert (
        "the first sample of birds-train-000000.tar has cls, jpg, json, txt, weight.pyd (" in err
    )


# ---- tars of all kinds


@pytest.mark.parametrize("form", ["gnu", "pax", "ustar"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_tars_of_gnu_tar(tmp_path, image, form):
    """As `tar cf x.tar .` makes them: names begin with "./", folders are members too."""
    photos = tmp_path / "photos"
    deep = photos / ("a-folder-with-a-long-name" * 3) / "and another"
    deep.mkdir(parents=True)
    for n, (folder, stem) in enumerate([(photos, "1"), (deep, "a b"), (deep, "x" * 60)]):
        (folder / f"{stem}.JPG").write_bytes(image(n))
        (folder / f"{stem}.cls").write_text(f"{n}\n")
    (tmp_path / "set").mkdir()
    subprocess.run(
        ["tar", "--sort=name", f"--format={form}", "-cf", tmp_path / "set/all.tar", "."],
        cwd=photos,
        check=True,
    )
    adopt(str(tmp_path / "set"), CLS)
    assert verify(str(tmp_path / "set")) == []
    stock = wds.WebDataset(str(tmp_path / "set/all.tar"), shardshuffle=False)
    found = rows(open_split(str(tmp_path / "set"), "train"))
    assert found == [(s["__key__"], [s["cls"].decode().strip()], s["jpg"]) for s in stock]
    assert "/and another/a b" in found[1][0] + found[2][0]
    index = parse_index((tmp_path / "set/all.idx").read_bytes(), name="idx")
    assert sum("/and%20another/a%20b.JPG" in m.name for files in index for m in files) == 1


@pytest.mark.parametrize("kind", ["JPEG", "PNG", "WEBP"])
def test_kinds_of_images(tmp_path, image, kind):
    extension = {"JPEG": "jpeg"}.get(kind, kind.lower())
    sample = {"__key__": "a", extension: image(1, kind), "cls": b"0"}
    folder = packed(tmp_path / "set/a.tar", sample)
    adopt(str(folder), CLS)
    assert verify(str(folder)) == []
    assert rows(open_split(str(folder), "train"))[0][2] == image(1, kind)


def test_of_several_images_one_is_chosen(tmp_path, image):
    sample = {
        "__key__": "a",
        "jpg": image(1),
        "png": image(2, "PNG"),
        "mask.png": b"",
        "cls": b"0",
    }
    folder = packed(tmp_path / "set/a.tar", sample)
    assert faults_of(folder) == [
        "a.tar: sample 'a': several images (jpg, png); choose one with --image jpg"
    ]
    adopt(str(folder), AdoptRules(labels="cls", image="rgb.jpg;png;jpg"))
    assert rows(open_split(str(folder), "train"))[0][2] == image(2, "PNG")
    assert verify(str(folder)) == []


def test_tars_that_count_from_zero_each(tmp_path, image):
    for name in ("train/0", "train/1", "test/0"):
        packed(tmp_path / f"set/{name}.tar", {"__key__": "000", "jpg": image(1), "cls": b"1"})
    folder = tmp_path / "set"
    assert faults_of(folder) == [
        "train/1.tar: sample '000': train/0.tar has a sample of this key too",
        "test/0.tar: sample '000': train/0.tar has a sample of this key too",
    ]
    with pytest.raises(
        FaultyTarsError, match="make keys that tars share differ with --prefix-key"
    ):
        adopt(str(folder), CLS)
    adopt(str(folder), AdoptRules(labels="cls", prefix_keys=True))
    assert [key for key, *_ in rows(open_split(str(folder), "train"))] == [
        *("train/0/000", "train/1/000")
    ]
    assert verify(str(folder)) == []


def bad_samples(image: Callable[..., bytes]) -> list[tuple[Sample, str]]:
    text = b"<html>Not found</html>"
    return [
        ({"cls": b"1"}, "no image: it has cls, wanted jpg or jpeg or png or webp"),
        ({"jpg": image(1)}, "no labels: it has jpg, wanted cls"),
        ({"jpg": b"", "cls": b"1"}, "the image is empty (0 bytes)"),
        ({"jpg": image(1)[:200], "cls": b"1"}, "the image cannot be decoded (200 bytes: cut off"),
        ({"jpg": text, "cls": b"1"}, "the image cannot be decoded (22 bytes: cannot identify"),
        ({"jpg": image(1, "GIF"), "cls": b"1"}, "the image is GIF, wanted JPEG, PNG or WebP"),
        ({"jpg": image(1), "cls": b"dog"}, "its cls is 'dog', wanted whole numbers"),
        ({"jpg": image(1), "cls": b"1,2"}, "its cls is '1,2', wanted one whole number"),
        ({"jpg": image(1), "cls": b"\xff"}, "its cls is not UTF-8 text"),
    ]


def test_faulty_samples_are_all_listed_or_left_out(tmp_path, image, cli):
    faulty = bad_samples(image)
    samples = [{"__key__": f"bad{n}", **sample} for n, (sample, _) in enumerate(faulty)]
    good = [{"__key__": f"good{n}", "jpg": image(n), "cls": b"1"} for n in range(3)]
    folder = packed(tmp_path / "set/a.tar", good[0], *samples, good[1])
    packed(folder / "b.tar", *samples)
    packed(folder / "c.tar", good[2])
    members(folder / "d.tar", ("x.jpg", image(1)), ("y.jpg", image(2)), ("x.jpg", image(3)))
    found = faults_of(folder)
    for n, (_, told) in enumerate(faulty):
        assert f"a.tar: sample 'bad{n}': {told}" in found[n]
    assert found[-1] == "d.tar: sample 'x': another sample of this tar has this key"
    status, out, err = cli("adopt", folder, "--labels", "cls")
    assert (status, out.splitlines()) == (2, [*found[:20], f"... and {len(found) - 20} more"])
    assert err.endswith(
        f"error: {folder}: {len(found)} faults, nothing was written; see whether --labels and "
        "--image are right, or leave faulty samples out with --skip-faulty\n"
    )

    status, out, _ = cli("adopt", folder, "--labels", "cls", "--skip-faulty")
    assert status == 0
    assert out.splitlines()[: len(found)] == [f"left out: {fault}" for fault in found]
    assert out.splitlines()[len(found) :][:3] == [
        *("not used: b.tar", "not used: d.tar", "train: 3 photos in 2 tars, 0.1 MiB")
    ]
    assert [key for key, *_ in rows(open_split(str(folder), "train"))] == [
        "good0",
        "good1",
        "good2",
    ]
    assert verify(str(folder)) == []
    assert open_split(str(folder), "train").manifest.source["adopted"]["skipped"] == len(found)


def test_what_only_decoding_shows(tmp_path, image):
    """A PNG whose checksums are right, and whose pixels are no pixels."""
    content = image(1, "PNG")
    at = content.index(b"IDAT")
    size = int.from_bytes(content[at - 4 : at], "big")
    body = b"IDAT" + bytes(size)
    torn = content[:at] + body + zlib.crc32(body).to_bytes(4, "big") + content[at + size + 8 :]
    flipped = content[: at + 9] + b"?" + content[at + 10 :]
    folder = packed(tmp_path / "set/a.tar", {"__key__": "a", "png": flipped, "cls": b"1"})
    assert "wrong checksum of chunk IDAT" in faults_of(folder)[0]
    packed(folder / "a.tar", {"__key__": "a", "png": torn, "cls": b"1"})
    decoding = AdoptRules(labels="cls", check="decode")
    assert "the image cannot be decoded" in faults_of(folder, decoding)[0]
    adopt(str(folder), CLS)


def test_broken_tars(tmp_path, image):
    good = [{"__key__": f"{n}", "jpg": image(n), "cls": b"1"} for n in range(3)]
    folder = packed(tmp_path / "set/0.tar", *good)
    content = (folder / "0.tar").read_bytes()
    with tarfile.open(folder / "0.tar") as tar:
        third = tar.getmember("2.cls")
    (folder / "0.tar").unlink()
    end = third.offset
    broken = {
        "at-a-file.tar": content[:end],
        "in-a-header.tar": content[: end + 100],
        "in-a-photo.tar": content[: third.offset_data + 2600],
        "flipped.tar": content[:end] + b"\xff" + content[end + 1 :],
        "joined.tar": content + content,
        "none.tar": b"",
    }
    for name, body in broken.items():
        (folder / name).write_bytes(body)
    for command, name in (("gzip", "z.tar.gz"), ("bzip2", "y.tar")):
        done = subprocess.run([command, "-c"], input=content, capture_output=True, check=True)
        (folder / name).write_bytes(done.stdout)
    (folder / "html.tar").write_bytes(b"<html>404</html>" * 100)
    told = dict(fault.split(": ", 1) for fault in faults_of(folder) if "sample" not in fault)
    cut = "it is damaged or cut off ("
    assert told == {
        "at-a-file.tar": f"{cut}no end-of-archive mark at byte {end}); copy or download it again",
        "in-a-header.tar": told["in-a-header.tar"],
        "in-a-photo.tar": f"{cut}unexpected end of data); copy or download it again",
        "flipped.tar": f"{cut}no end-of-archive mark at byte {end}); copy or download it again",
        "joined.tar": "there is more behind its end-of-archive mark, which readers do not see, as "
        "when tars are joined by `cat`; split it, or join them by `tar --concatenate`",
        "none.tar": f"{cut}empty file); copy or download it again",
        "html.tar": f"{cut}invalid header); copy or download it again",
        "z.tar.gz": "it is compressed (gzip), and single images cannot be read out of that; "
        "unpack it (photos hardly get smaller by it)",
        "y.tar": told["z.tar.gz"].replace("gzip", "bzip2"),
    }
    assert told["in-a-header.tar"].startswith(cut)
    with pytest.raises(FaultyTarsError, match="replace broken tars, or leave them out by the pat"):
        adopt(str(folder), AdoptRules(labels="cls", skip_faulty=True))


def test_a_sparse_file_is_refused(tmp_path):
    with (tmp_path / "a.jpg").open("wb") as file:
        file.truncate(1 << 20)
        file.seek(1 << 19)
        file.write(b"1")
    (tmp_path / "set").mkdir()
    subprocess.run(["tar", "-Scf", "set/a.tar", "a.jpg"], cwd=tmp_path, check=True)
    assert faults_of(tmp_path / "set")[-1] == (
        "a.tar: 'a.jpg' is stored without its holes; pack it without --sparse"
    )


def test_a_name_that_is_not_utf8(tmp_path, image):
    folder = members(tmp_path / "set/a.tar", ("x.jpg", image(1)), ("x.cls", b"1"),
                     form=tarfile.GNU_FORMAT)  # fmt: skip
    content = (folder / "a.tar").read_bytes()
    for old in (b"x.jpg", b"x.cls"):
        header = bytearray(content[content.index(old) :][:512])
        header[0] = 0xE9
        header[148:156] = b"%06o\0 " % (sum(header[:148]) + 8 * 32 + sum(header[156:]))
        at = content.index(old)
        content = content[:at] + bytes(header) + content[at + 512 :]
    (folder / "a.tar").write_bytes(content)
    assert "its name is not UTF-8" in faults_of(folder)[0]


@settings(max_examples=60, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.sampled_from(["", "d/", "d.e/", "./", "d/f/"]),
            st.sampled_from(["a", "b", "", "__m__", "a b"]),
            st.sampled_from([".jpg", ".JPG", ".cls", ".x.jpg", ""]),
        ),
        max_size=8,
    )
)
def test_files_are_grouped_as_webdataset_groups_them(parts: list[tuple[str, str, str]]) -> None:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        for n, (folder, stem, ext) in enumerate(parts):
            info = tarfile.TarInfo(f"{folder}{stem}{ext}" or "x")
            info.size = 1
            tar.addfile(info, io.BytesIO(bytes([n])))
    stock: list[tuple[str, dict[str, int]]] | None = []
    try:
        files = wds.tariterators.tar_file_iterator(io.BytesIO(out.getvalue()))
        named = ({**file, "__url__": ""} for file in files)
        for sample in wds.tariterators.group_by_keys(named):
            files_of = {ext: v[0] for ext, v in sample.items() if not ext.startswith("__")}
            stock.append((sample["__key__"], files_of))
    except ValueError:
        stock = None
    ours = list(foreign_samples(io.BytesIO(out.getvalue())))
    assert any(sample.twice for sample in ours) == (stock is None)
    if stock is not None:
        body = out.getvalue()
        found = [(s.key, {e: body[m.offset] for e, m in s.files.items()}) for s in ours]
        assert found == stock


# ---- splits


@pytest.mark.parametrize(
    "names, asked, wanted",
    [
        (["0.tar", "1.tar"], [], {"train": ["0.tar", "1.tar"]}),
        (["train-0.tar", "val-0.tar"], [], {"train": ["train-0.tar"], "val": ["val-0.tar"]}),
        (["dev/0.tar", "Train/0.tar"], [], {"train": ["Train/0.tar"], "val": ["dev/0.tar"]}),
        (["val2014.tar", "train.tar"], [], {"train": ["train.tar"], "val": ["val2014.tar"]}),
        (["testing.tar", "a-train.tar"], [], {"train": ["a-train.tar"], "test": ["testing.tar"]}),
        (["restrain.tar"], [], {"train": ["restrain.tar"]}),
        (["0.tar", "1.tar", "2.tar"], ["b=1.tar", "a=0.tar"], {"a": ["0.tar"], "b": ["1.tar"]}),
        (["p-0.tar", "p-1.tar", "p-2.tar"], ["all=p-{0..1}.tar"], {"all": ["p-0.tar", "p-1.tar"]}),
        (["p-08.tar", "p-09.tar"], ["a=p-{08..09}.tar"], {"a": ["p-08.tar", "p-09.tar"]}),
        (["a/0.tar", "b/0.tar"], ["x=a/*", "y=b/*.tar"], {"x": ["a/0.tar"], "y": ["b/0.tar"]}),
        (["a/t-0.tar", "b/t-1.tar"], ["x=t-?.tar"], {"x": ["a/t-0.tar", "b/t-1.tar"]}),
        (["a.tgz", "b.tar.gz", "c.zip"], [], {"train": ["a.tgz", "b.tar.gz"]}),
    ],
    ids=str,
)  # fmt: skip
def test_tars_go_to_their_splits(names, asked, wanted):
    splits, unused = tars_of_splits([*names, "README"], asked, url="u")
    assert splits == wanted
    assert list(splits) == list(wanted)
    tars = {tar for tars in splits.values() for tar in tars}
    assert unused == [name for name in names if name not in tars and not name.endswith("zip")]


@pytest.mark.parametrize(
    "names, asked, told",
    [
        (["a.zip"], [], r"^u: no \.tar file here; give the folder or prefix of the tars"),
        (["train-0.tar", "x.tar"], [], r"x\.tar has no split in its name, others have; name all"),
        (["train-val.tar"], [], r"train-val\.tar may be of split train or val; say it with --spl"),
        (["0.tar"], ["train"], "--split 'train' is not NAME=PATTERN; write for example train="),
        (["0.tar"], ["a/b=0.tar"], "--split 'a/b=0.tar' is not NAME=PATTERN"),
        (["0.tar"], ["_build=*"], "--split '_build=\\*' is not NAME=PATTERN"),
        (["0.tar"], ["a=x*"], r"no tar matches 'x\*' of --split 'a=x\*'; there are 0\.tar$"),
        (["0.tar"], ["a={0..1}.tar"], r"no tar matches '1\.tar' of --split"),
        (["0.tar"], ["a={0.tar"], "has a brace too many or too few"),
        (["0.tar"], ["a=*", "b=0*"], r"0\.tar would be in split 'a' and in 'b'; make the patte"),
    ],
)
def test_splits_that_cannot_be(names, asked, told):
    with pytest.raises(ConfigError, match=told):
        tars_of_splits(names, asked, url="u")


# ---- labels


@pytest.mark.parametrize(
    "labels, form, content, listed, wanted",
    [
        ("cls", "auto", b"3\n", None, ["3"]),
        ("cls", "auto", b"1", "abc", ["b"]),
        ("cls", "names", b"dog", None, ["dog"]),
        ("cls", "ids", b"0,2", "abc", ["a", "c"]),
        ("txt", "auto", b"sea, sky;boat\nsea\r\n", None, ["sea", "sky", "boat"]),
        ("txt", "auto", b"", None, []),
        ("txt", "auto", "\ufeffété\n".encode(), None, ["été"]),
        ("TXT", "auto", b"7", None, ["7"]),
        ("txt", "multi-hot", b"0,1,1", "abc", ["b", "c"]),
        ("json", "auto", b'["x"]', None, ["x"]),
        ("json:t", "auto", b'{"t": ["x", "y", "x"]}', None, ["x", "y"]),
        ("json:t", "auto", b'{"t": "tench, Tinca tinca"}', None, ["tench, Tinca tinca"]),
        ("json:t", "auto", b'{"t": 4}', None, ["4"]),
        ("json:t", "auto", b'{"t": null}', None, []),
        ("json:t", "auto", b'{"t": []}', "abc", []),
        ("json:t", "auto", b'{"t": [7, 3]}', None, ["7", "3"]),
        ("json:t", "auto", b'{"t": [2, 0]}', "abc", ["c", "a"]),
        ("json:t", "ids", b'{"t": [1, 0, 1]}', "abc", ["b", "a"]),
        ("json:t", "multi-hot", b'{"t": [1, 0, 1]}', "abc", ["a", "c"]),
        ("json:t", "multi-hot", b'{"t": [1.0, 0.0, 0.0]}', "abc", ["a"]),
        ("json:t", "multi-hot", b'{"t": [true, false, true]}', "abc", ["a", "c"]),
        ("meta:a.b", "auto", b'{"a": {"b": ["x"]}}', None, ["x"]),
    ],
    ids=str,
)
def test_labels(labels, form, content, listed, wanted):
    rules = AdoptRules(labels=labels, form=form, listed=listed is not None)
    known = {name: column for column, name in enumerate(listed)} if listed else None
    assert rules.pick_labels(["jpg", labels.partition(":")[0].lower()])
    assert rules.label_names(content, known) == wanted


@pytest.mark.parametrize(
    "labels, form, content, listed, told",
    [
        ("json:t", "auto", b"{", None, "its json is not JSON"),
        ("json:t", "auto", b'{"s": 1}', None, "its json has no field 't'"),
        ("json:t.u", "auto", b'{"t": 1}', None, r"its json has no field 't\.u'"),
        ("json:t", "auto", b'{"t": [1, "x"]}', None, r'labels \[1, "x"\] are not all whole numb'),
        ("json:t", "auto", b'{"t": [1.5]}', None, r"labels \[1\.5\] are not all whole numbers"),
        ("json:t", "auto", b'{"t": {"x": 1}}', None, "are not all whole numbers"),
        ("json:t", "names", b'{"t": [1]}', None, r"labels \[1\] are not all names"),
        ("json:t", "auto", b'{"t": [-1]}', None, r"labels \[-1\] are not all 0 or more"),
        ("json:t", "auto", b'{"t": [3]}', "abc", r"\[3\] are not all from 0 to 2, as many as --n"),
        ("json:t", "auto", b'{"t": [0, 1, 0]}', None, r"\[0, 1, 0\] can be ids or a multi-hot"),
        ("json:t", "auto", b'{"t": [0, 1]}', "ab", "say which with --form ids or --form mul"),
        ("json:t", "auto", b'{"t": [true, false]}', None, "can be ids or a multi-hot row"),
        ("json:t", "multi-hot", b'{"t": [1, 0]}', "abc", "no multi-hot row of 3 values, as many"),
        ("json:t", "multi-hot", b'{"t": [1, 0, 2]}', "abc", "no multi-hot row of 3 values"),
        ("json:t", "auto", b'{"t": ["bb"]}', ["aa", "bbb"], "'bb' is not in --names; did you mea"),
        ("json:t", "auto", b'{"t": ["\\ud800"]}', None, "is not Unicode text"),
        ("json:t", "auto", b"[" * 100_000, None, "its json is not JSON"),
        ("json:t", "auto", b'{"t": 1, "t": 2}', None, r"not JSON \(an object has the key 't' twi"),
        ("json:t", "auto", b'{"t": [" "]}', None, "a label without a name"),
        ("txt", "ids", b"1,x", None, "its txt is '1,x', wanted whole numbers"),
    ],
    ids=str,
)  # fmt: skip
def test_labels_that_cannot_be(labels, form, content, listed, told):
    rules = AdoptRules(labels=labels, form=form, listed=listed is not None)
    known = {name: column for column, name in enumerate(listed)} if listed else None
    with pytest.raises(FaultySampleError, match=told):
        rules.label_names(content, known)


def test_a_label_space_from_a_file(birds, tmp_path, cli):
    (tmp_path / "names.txt").write_text("\ufeffsky\nboat\nsea\n\n")
    options = ("--labels", "json:meta.hot", "--form", "multi-hot")
    status, _, err = cli("adopt", birds, *options)
    assert (status, err) == (
        2,
        "error: a multi-hot row does not name its labels; name them with --names\n",
    )
    assert cli("adopt", birds, *options, "--names", tmp_path / "names.txt")[0] == 0
    data = open_split(str(birds), "train")
    assert data.manifest.labels == ("sky", "boat", "sea")
    assert rows(data)[3][1] == ["sky", "boat"]
    assert verify(str(birds)) == []


def test_numbers_are_sorted_as_numbers(tmp_path, image):
    samples = [{"__key__": f"{n}", "jpg": image(n), "cls": b"%d" % n} for n in (10, 9, 2)]
    folder = packed(tmp_path / "set/a.tar", *samples)
    assert adopt(str(folder), CLS).manifest.labels == ("2", "9", "10")


@pytest.mark.parametrize(
    "arguments, told",
    [
        ([], "--labels is missing; the first sample of birds-train-000000.tar has cls, jpg, json, "
         "txt, weight.pyd (in its json: meta.tags, meta.ids, meta.hot): say where the labels are, "
         "for example --labels c"),
        (["--labels", "json"], "--labels json: say which field; the json of the first sample of "
         "birds-train-000000.tar has meta.tags, meta.ids, meta.hot: write for example --labels "
         "json:meta.tags\n"),
        (["--labels", ":x"], "adopt: labels is ':x': "),
        (["--labels", "cls", "--names", "none"], "--names none: cannot be read ("),
        (["--labels", "cls", "--names", "twice"], "label 'a' is listed twice; label names must "),
    ],
)  # fmt: skip
def test_wrong_arguments(birds, tmp_path, cli, monkeypatch, arguments, told):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "twice").write_text("a\na\n")
    before = contents(birds)
    status, out, err = cli("adopt", birds, *arguments)
    assert (status, out, err.count("\n")) == (2, "", 1)
    assert err.startswith(f"error: {told}")
    assert contents(birds) == before


def test_no_label_at_all(tmp_path, image):
    folder = packed(tmp_path / "set/a.tar", {"__key__": "a", "jpg": image(1), "txt": b""})
    with pytest.raises(DatasetError, match="the label space is empty"):
        adopt(str(folder), AdoptRules(labels="txt"))
    assert os.listdir(folder) == ["a.tar"]


def test_a_tar_where_the_folder_should_be(birds, cli):
    tar = birds / "birds-val-000000.tar"
    status, _, err = cli("adopt", tar, "--labels", "cls")
    assert (status, err) == (
        2,
        f"error: {tar}: {tar} is a file, not a folder; give the folder that the tar lies in, or "
        "another one\n",
    )


def test_a_wrong_rule_does_not_print_every_sample(tmp_path, image, cli):
    samples = [{"__key__": f"{n}", "jpg": image(n % 9), "cls": b"1"} for n in range(23)]
    folder = packed(tmp_path / "set/a.tar", *samples)
    status, out, err = cli("adopt", folder, "--labels", "txt")
    assert status == 2
    assert out.splitlines()[19:] == [
        "a.tar: sample '19': no labels: it has cls, jpg, wanted txt",
        "... and 3 more",
    ]
    assert f"{folder}: 23 faults, nothing was written; see whether --labels" in err


def test_one_fault_is_no_faults(tmp_path, image, cli):
    folder = packed(tmp_path / "set/a.tar", {"__key__": "a", "jpg": image(1)})
    assert f"{folder}: 1 fault, nothing was" in cli("adopt", folder, "--labels", "cls")[2]


def test_a_wrong_number_of_processes(birds, cli, capsys):
    with pytest.raises(SystemExit, match="2"):
        cli("adopt", birds, "--labels", "cls", "--workers", "0")
    assert "'0' is not a whole number from 1 on" in capsys.readouterr().err


def test_labels_that_are_longer_than_any_number_are_names(tmp_path, image):
    labels = ["9" * 5000, "10", "9"]
    tags = [
        {"__key__": f"{n}", "jpg": image(n), "txt": one.encode()} for n, one in enumerate(labels)
    ]
    folder = packed(tmp_path / "set/a.tar", *tags)
    assert adopt(str(folder), AdoptRules(labels="txt")).manifest.labels == ("10", "9", "9" * 5000)
