"""Building: deterministic, checked, and published only when whole."""

import json
import os

import pytest
import webdataset as wds

from retdm.data.index import parse_index
from retdm.data.manifest import load_manifest
from retdm.data.table import read_table
from retdm.errors import ConfigError, DatasetError, StorageError
from retdm.shard.verify import verify
from retdm.storage import open_store


def content(folder):
    return {str(p.relative_to(folder)): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def test_files_and_counts(shards):
    manifest = load_manifest(open_store(str(shards)))
    assert {name: split.samples for name, split in manifest.splits.items()} == {
        **{"train": 14, "val": 2},
        "test": 4,
    }
    assert manifest.labels == ("sea", "sky")
    assert [shard.samples for shard in manifest.splits["train"].shards] == [4, 4, 4, 2]
    assert sorted(content(shards)) == sorted(
        ["manifest.json", *(f"{split}/labels.parquet" for split in manifest.splits)]
        + [f"train/{n:06d}.{ext}" for n in range(4) for ext in ("idx", "tar")]
        + [f"{split}/000000.{ext}" for split in ("val", "test") for ext in ("idx", "tar")]
    )


# webdataset leaves its files to the garbage collector.
@pytest.mark.filterwarnings("ignore::ResourceWarning")
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_every_photo_is_there_once_with_its_labels_and_bytes(shards, source):
    seen = {}
    for tar in sorted(shards.rglob("*.tar")):
        for sample in wds.WebDataset(str(tar), shardshuffle=False):
            text = json.loads(sample["json"])
            seen[sample["__key__"]] = (sample.get("jpg", sample.get("png")), text["labels"])
    assert sorted(seen, key=int) == [str(n) for n in range(20)]
    for number in range(20):
        file = f"{number}.{'png' if number == 7 else 'jpg'}"
        image, labels = seen[str(number)]
        assert image == (source / "images" / file).read_bytes()
        assert labels == ["sea"] * (number % 2) + ["sky"] * (number % 3 == 0)


def test_table_and_index_stand_in_the_order_of_the_tars(shards):
    for split in ("train", "val", "test"):
        table = read_table((shards / split / "labels.parquet").read_bytes(), labels=2, name="t")
        listed = [
            sample[0].name.split(".")[0]
            for path in sorted((shards / split).glob("*.idx"))
            for sample in parse_index(path.read_bytes(), name="i")
        ]
        assert list(table.keys) == listed


def test_same_source_and_spec_same_bytes(pack, tmp_path, source, monkeypatch):
    pack(tmp_path / "a")
    for path in (source / "images").iterdir():
        os.utime(path, (1, 1))
    rows = (source / "labels.csv").read_text().split("\n")
    (source / "labels.csv").write_text("\n".join([rows[0], *reversed(rows[1:])]))
    monkeypatch.setattr(os, "cpu_count", lambda: 7)
    pack(tmp_path / "b")
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_manifest_has_the_spec_but_nothing_of_this_machine(shards, source):
    text = (shards / "manifest.json").read_text()
    assert json.loads(text)["source"]["options"]["file"] == "labels.csv"
    assert str(source.parent) not in text


def test_tars_end_by_bytes_too(pack, tmp_path):
    manifest = pack(tmp_path / "a", "shards.samples=100", "shards.bytes=8000")
    shards = manifest.splits["train"].shards
    assert len(shards) > 2
    assert all(shard.bytes <= 10240 for shard in shards)
    one_each = pack(tmp_path / "b", "shards.bytes=1").splits["train"].shards
    assert [shard.samples for shard in one_each] == [1] * 14


def test_resized_photos_decode_to_the_size_in_the_table(pack, tmp_path):
    pack(tmp_path / "a", "resize.short_side=16")
    table = read_table((tmp_path / "a/train/labels.parquet").read_bytes(), labels=2, name="t")
    assert set(table.heights.tolist()) == {16}
    assert verify(str(tmp_path / "a")) == []


def test_tars_of_reduced_photos_come_near_the_size_asked_for(pack, tmp_path):
    manifest = pack(
        *(tmp_path / "a", "resize.short_side=16", "shards.samples=100", "shards.bytes=8192"),
    )
    sizes = [shard.bytes for shard in manifest.splits["train"].shards]
    assert 3 <= len(sizes) <= 6
    assert all(size <= 2 * 10240 for size in sizes)


def test_any_number_of_processes_gives_the_same_bytes(pack, tmp_path):
    pack(tmp_path / "a", "shards.samples=1")
    pack(tmp_path / "b", "shards.samples=1", workers=3)
    assert content(tmp_path / "a") == content(tmp_path / "b")


def test_nothing_of_the_work_is_left(shards):
    assert not (shards / "_build").exists()
    assert not [path for path in shards.rglob(".*")]


@pytest.mark.parametrize("damage", [b"", b"<html>", None])
def test_a_bad_photo_is_named_and_nothing_is_left(pack, source, tmp_path, damage):
    path = source / "images/11.jpg"
    path.write_bytes(path.read_bytes()[:200] if damage is None else damage)
    with pytest.raises(DatasetError, match=r"labels.csv: row 13: photo .*11.jpg "):
        pack(tmp_path / "out")
    assert content(tmp_path / "out") == {}


@pytest.mark.parametrize("workers", [1, 2])
def test_all_bad_photos_are_reported_together(pack, source, tmp_path, workers):
    for number in (2, 3, 4):
        (source / f"images/{number}.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match="3 photos cannot be packed:") as caught:
        pack(tmp_path / "out", workers=workers)
    assert content(tmp_path / "out") == {}
    assert sorted(line.split(":")[1] for line in str(caught.value).split("\n")[1:]) == [
        " row 4",
        " row 5",
        " row 6",
    ]


def test_a_photo_that_changes_while_the_build_runs_is_noticed(pack, source, tmp_path, monkeypatch):
    from retdm.shard import build as module

    def then_touch(*arguments, lay_out=module.lay_out):
        jobs = lay_out(*arguments)
        path = source / "images/5.jpg"
        path.write_bytes(path.read_bytes() + b"more")
        return jobs

    monkeypatch.setattr(module, "lay_out", then_touch)
    with pytest.raises(
        DatasetError, match=r"5.jpg was changed while the build ran \(\d+ bytes, t"
    ):
        pack(tmp_path / "out")


def test_a_worker_reports_a_storage_failure_as_it_is(pack, tmp_path):
    (tmp_path / "out/train/000002.tar").mkdir(parents=True)
    with pytest.raises(StorageError, match=r"out/train/000002.tar: Is a directory; check perm"):
        pack(tmp_path / "out", workers=2)
    assert "manifest.json" not in content(tmp_path / "out")


def test_a_split_cannot_have_the_name_of_the_work_folder(pack, source, tmp_path):
    rows = (source / "labels.csv").read_text().split("\n")
    rows = [
        f"{row},{'part' if i == 0 else '_build' if i == 1 else 'train'}"
        for i, row in enumerate(rows)
    ]
    (source / "labels.csv").write_text("\n".join(rows))
    with pytest.raises(DatasetError, match='split "_build" has a name that builds need; rename'):
        pack(tmp_path / "out", "options.split_column=part")


def test_many_bad_photos_are_counted(pack, source, tmp_path, monkeypatch):
    monkeypatch.setattr("retdm.shard.build._SHOWN", 2)
    for number in (2, 3, 4, 5):
        (source / f"images/{number}.jpg").write_bytes(b"")
    with pytest.raises(DatasetError, match=r"4 photos cannot be packed:(\n.*){2}\n  and 2 more"):
        pack(tmp_path / "out")


def test_a_finished_set_is_not_replaced_by_accident(pack, shards):
    before = content(shards)
    with pytest.raises(ConfigError, match=r"holds a finished shard set; .* or pass --overwrite"):
        pack(shards)
    assert content(shards) == before


def test_tars_of_nobody_knows_whom_are_not_removed(pack, tmp_path, shards):
    place = tmp_path / "theirs"
    (place / "train").mkdir(parents=True)
    (place / "train/000000.tar").write_bytes(b"somebody's years of work")
    message = r"holds 'train/000000.tar', but neither a manifest nor what .*adopt`, or pass --over"
    with pytest.raises(ConfigError, match=message):
        pack(place)
    assert content(place) == {"train/000000.tar": b"somebody's years of work"}
    pack(place, overwrite=True)
    assert content(place) == content(shards)


@pytest.mark.parametrize("damage", [(b'"version": 2', b'"version": 1'), (b"{", b"")])
def test_overwrite_replaces_a_set_whose_manifest_cannot_be_read(pack, shards, tmp_path, damage):
    path = shards / "manifest.json"
    path.write_bytes(path.read_bytes().replace(*damage))
    pack(shards, overwrite=True)
    pack(tmp_path / "fresh")
    assert content(shards) == content(tmp_path / "fresh")


def test_overwrite_leaves_nothing_of_the_old_set(pack, shards, tmp_path):
    pack(shards, "shards.samples=20", overwrite=True)
    pack(tmp_path / "fresh", "shards.samples=20")
    assert content(shards) == content(tmp_path / "fresh")


def test_a_bad_source_does_not_cost_the_old_set(pack, shards, source):
    before = content(shards)
    (source / "labels.csv").write_text("path,sea\ngone.jpg,1\n")
    with pytest.raises(DatasetError, match=r"'gone.jpg' is not in"):
        pack(shards, overwrite=True)
    assert content(shards) == before


@pytest.mark.parametrize("overwrite", [False, True])
def test_a_folder_with_other_files_is_not_touched(pack, source, overwrite):
    before = content(source)
    with pytest.raises(ConfigError, match=r"holds 'images/0.jpg', which is not part of a shard"):
        pack(source, overwrite=overwrite)
    assert content(source) == before


def test_a_storage_failure_publishes_nothing(pack, tmp_path, monkeypatch):
    from retdm.storage.file import FileStore

    write = FileStore.write

    def full(self, name, data):
        if name == "val/000000.idx":
            raise StorageError(f"{name}: no space left")
        write(self, name, data)

    monkeypatch.setattr(FileStore, "write", full)
    with pytest.raises(StorageError, match="no space left"):
        pack(tmp_path / "out")
    assert "manifest.json" not in content(tmp_path / "out")
    assert "train/000000.tar" in content(tmp_path / "out")


def test_builds_into_a_url_with_scheme(pack, tmp_path):
    pack(f"file://{tmp_path}/a b")
    assert verify(str(tmp_path / "a b")) == []


def test_how_photos_are_checked_is_not_part_of_the_set(pack, shards, tmp_path):
    pack(tmp_path / "decoded", "check=decode")
    assert content(tmp_path / "decoded") == content(shards)


@pytest.mark.parametrize("inside", ["", "/photos/set"])
def test_a_file_where_the_folder_should_be(cli, source, tmp_path, inside):
    file = tmp_path / "out"
    file.write_bytes(b"a file")
    out = f"{file}{inside}"
    status, _, err = cli("build", source / "spec.toml", "--source", source, "--out", out)
    assert (status, err) == (
        2,
        f"error: --out {out}: {file} is a file, not a folder; give another folder, or move the "
        "file away\n",
    )
    assert file.read_bytes() == b"a file"
