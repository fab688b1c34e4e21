import hashlib
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retdm.data.manifest import MANIFEST, Manifest, load_manifest
from retdm.data.split import open_split
from retdm.data.table import table_bytes
from retdm.errors import ShardError
from retdm.storage import open_store


@pytest.fixture
def copy(tiny_set: str, tmp_path: Path) -> Path:
    """A shard set to damage."""
    return Path(shutil.copytree(tiny_set, tmp_path / "copy"))


def test_a_split_knows_samples_labels_and_places(
    tiny_set: str, make_jpeg: Callable[..., bytes]
) -> None:
    data = open_split(tiny_set, "train")
    assert len(data) == 22
    assert data.shard_sizes == [5, 1, 7, 0, 6, 3]
    assert data.table.targets[5].tolist() == [True, False, True]
    assert data.label_space.names == ("sea", "sky", "boat")
    place = data.locations
    assert place.shard.tolist() == [0] * 5 + [1] + [2] * 7 + [4] * 6 + [5] * 3
    tar = Path(tiny_set, "train/000004.tar").read_bytes()
    assert tar[place.offset[14] : place.offset[14] + place.size[14]] == make_jpeg(14)


def test_a_split_that_is_not_there_lists_those_that_are(tiny_set: str) -> None:
    with pytest.raises(ShardError, match="no split 'test'; this shard set has: train"):
        open_split(tiny_set, "test")


def test_no_manifest_means_no_shard_set(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(ShardError, match=r"no manifest.json, so there is no finished shard set"):
        open_split(str(copy), "train")


@pytest.mark.parametrize("name", ["train/labels.parquet", "train/000002.idx"])
def test_a_changed_file_is_named_with_both_digests(copy: Path, name: str) -> None:
    (copy / name).write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(
        ShardError, match=rf"{name}: sha256 is {found}, the manifest says [0-9a-f]{{64}}; upload"
    ):
        open_split(str(copy), "train")


@pytest.mark.parametrize("name", ["train/labels.parquet", "train/000002.idx"])
def test_a_missing_file_is_named(copy: Path, name: str) -> None:
    (copy / name).unlink()
    with pytest.raises(ShardError, match=rf"{name}: missing, though the manifest lists it"):
        open_split(str(copy), "train")


def _with_table(copy: Path, keys: list[str]) -> None:
    """Give the set another label table, and a manifest that agrees with its digest."""
    n = len(keys)
    content = table_bytes(keys, [[]] * n, ["0" * 64] * n, [1] * n, [1] * n)
    (copy / "train/labels.parquet").write_bytes(content)
    manifest = load_manifest(open_store(str(copy)))
    table = manifest.model_dump()
    table["splits"]["train"]["table_sha256"] = hashlib.sha256(content).hexdigest()
    (copy / MANIFEST).write_bytes(Manifest.model_validate(table).to_bytes())


def test_a_table_of_another_length_is_an_error(copy: Path) -> None:
    _with_table(copy, ["a", "b"])
    with pytest.raises(ShardError, match=r"labels.parquet: 2 rows, the manifest says 22 samples"):
        open_split(str(copy), "train")


def test_a_table_of_other_samples_is_an_error(copy: Path) -> None:
    _with_table(copy, [f"other-{n}" for n in range(22)])
    with pytest.raises(
        ShardError,
        match=r"no image of sample 'other-0' at its place in the index, found photo-000.jpg, "
        r"photo-000.json; rebuild",
    ):
        open_split(str(copy), "train")
