import hashlib
import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from retdm.config import DataSettings
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
    assert data.shard_numbers.tolist() == [0] * 5 + [1] + [2] * 7 + [4] * 6 + [5] * 3
    tar = Path(tiny_set, "train/000004.tar").read_bytes()
    start, size = data.table.offsets[14], data.table.sizes[14]
    assert tar[start : start + size] == make_jpeg(14)


def test_a_split_that_is_not_there_lists_those_that_are(tiny_set: str) -> None:
    message = "no split 'test'; this shard set has: train; choose one of them by --split NAME$"
    with pytest.raises(ShardError, match=message):
        open_split(tiny_set, "test")


@pytest.mark.parametrize("split", ["val", "test"])
def test_a_split_that_a_run_misses_names_its_setting(tiny_set: str, split: str) -> None:
    names = {"val_split": "train", "test_split": "train", f"{split}_split": split}
    data = DataSettings(url=tiny_set, **names)
    message = (
        f"^{tiny_set}: no split '{split}'; this shard set has: train; choose one of them by "
        f"--set data.{split}_split=NAME$"
    )
    with pytest.raises(ShardError, match=message):
        load_manifest(open_store(tiny_set)).splits_of(data)


def test_no_manifest_means_no_shard_set(copy: Path) -> None:
    (copy / MANIFEST).unlink()
    with pytest.raises(ShardError, match=r"no manifest.json, so there is no finished shard set"):
        open_split(str(copy), "train")


def test_a_changed_file_is_named_with_both_digests(copy: Path) -> None:
    name = "train/labels.parquet"
    (copy / name).write_bytes(b"other")
    found = hashlib.sha256(b"other").hexdigest()
    with pytest.raises(
        ShardError, match=rf"{name}: sha256 is {found}, the manifest says [0-9a-f]{{64}}; upload"
    ):
        open_split(str(copy), "train")


def test_a_missing_file_is_named(copy: Path) -> None:
    name = "train/labels.parquet"
    (copy / name).unlink()
    with pytest.raises(ShardError, match=rf"{name}: missing, though the manifest lists it"):
        open_split(str(copy), "train")


def test_opening_reads_no_index_and_no_tar(copy: Path) -> None:
    for path in [*copy.glob("train/*.idx"), *copy.glob("train/*.tar")]:
        path.unlink()
    assert len(open_split(str(copy), "train")) == 22


@pytest.mark.parametrize(
    "old, new",
    [(b'"tiny"', b'"tinz"'), (b'"sea"', b'"see"'), (b'"samples": 22', b'"samples": 23')],
)
def test_wrong_bytes_in_the_manifest_are_noticed(copy: Path, old: bytes, new: bytes) -> None:
    path = copy / MANIFEST
    content = path.read_bytes()
    assert content.count(old) == 1
    path.write_bytes(content.replace(old, new))
    with pytest.raises(ShardError, match=r"manifest.json: its content does not agree with its ch"):
        open_split(str(copy), "train")


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", r"manifest.json: not JSON \("),
        (b"[]", r"manifest.json: the file: Input should be a valid dictionary"),
        (b'{"version": 1}', r"manifest.json: version: Input should be 2; rebuild"),
        (b"[" * 100_000, r"manifest.json: not JSON \(nested more than 100 deep\)"),
        (b'{"version": 2, "version": 2}', r"not JSON \(an object has the key 'version' twice\)"),
        (
            b'{"version": 2, "name": "\\ud83d", "labels": [], "splits": {}, "source": {}}',
            r"not JSON \(.*surrogates not allowed",
        ),
    ],
)
def test_a_file_that_is_no_manifest_says_why(copy: Path, content: bytes, message: str) -> None:
    (copy / MANIFEST).write_bytes(content)
    with pytest.raises(ShardError, match=message):
        open_split(str(copy), "train")


def _with_table(copy: Path, keys: list[str], *, offset: int = 0) -> None:
    """Give the set another label table, and a manifest that agrees with its digest."""
    n = len(keys)
    ones = [1] * n
    content = table_bytes(keys, [[]] * n, ["0" * 64] * n, ones, ones, [offset] * n, ones)
    (copy / "train/labels.parquet").write_bytes(content)
    manifest = load_manifest(open_store(str(copy)))
    table = manifest.model_dump()
    table["splits"]["train"]["table_sha256"] = hashlib.sha256(content).hexdigest()
    (copy / MANIFEST).write_bytes(Manifest.model_validate(table).to_bytes())


def test_a_table_of_another_length_is_an_error(copy: Path) -> None:
    _with_table(copy, ["a", "b"])
    with pytest.raises(ShardError, match=r"labels.parquet: 2 rows, the manifest says 22 samples"):
        open_split(str(copy), "train")


def test_an_image_that_lies_outside_its_tar_is_an_error(copy: Path) -> None:
    _with_table(copy, [f"other-{n}" for n in range(22)], offset=10**9)
    with pytest.raises(
        ShardError,
        match=r"the image of sample 'other-0' ends at byte 1000000001 of a tar of \d+ bytes; reb",
    ):
        open_split(str(copy), "train")


@pytest.mark.parametrize("offset", [2**63 - 1, 2**62 + 2**61])
def test_a_place_whose_end_is_beyond_64_bits_is_an_error(copy: Path, offset: int) -> None:
    _with_table(copy, [f"other-{n}" for n in range(22)], offset=offset)
    with pytest.raises(ShardError, match=rf"ends at byte {offset + 1} of a tar of \d+ bytes"):
        open_split(str(copy), "train")


@pytest.mark.parametrize("field", ["samples", "bytes"])
@pytest.mark.parametrize("number", [-1, 2**63])
def test_numbers_that_no_shard_has_are_named(copy: Path, field: str, number: int) -> None:
    path = copy / MANIFEST
    table = json.loads(path.read_bytes())
    table["splits"]["train"]["shards"][1][field] = number
    path.write_text(json.dumps(table))
    with pytest.raises(ShardError, match=rf"splits\.train\.shards\.1\.{field}: Input should be"):
        open_split(str(copy), "train")
