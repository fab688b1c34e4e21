"""The MIRFLICKR reader: official lists with CRLF ends, and numbers of photos that are absent."""

import pytest

from retdm.config import parse
from retdm.datasets.mirflickr import PLAIN, RELEVANT, MirflickrOptions, read_mirflickr
from retdm.errors import ConfigError, DatasetError

OPTIONS = MirflickrOptions(images="images", annotations="lists")


@pytest.fixture
def source(tmp_path, photos):
    photos(tmp_path / "images", ["im1.jpg", "im10.jpg", "im2.jpg", "cover.jpg", "im03.jpg"])
    (tmp_path / "lists").mkdir()
    for concept in (*PLAIN, *RELEVANT):
        (tmp_path / f"lists/{concept}.txt").write_bytes(b"")
    (tmp_path / "lists/README.txt").write_text("not a concept")
    (tmp_path / "lists/sky.txt").write_bytes(b"1\r\n10\r\n\r\n")
    (tmp_path / "lists/animals.txt").write_bytes(b"10")
    (tmp_path / "lists/baby_r1.txt").write_bytes(b"2\n")
    return tmp_path


def labels(dataset):
    return {r.key: [dataset.labels.names[i] for i in r.labels] for r in dataset.records}


def test_the_official_lists_are_24_and_14():
    assert (len(PLAIN), len(RELEVANT)) == (24, 14)
    assert {name.removesuffix("_r1") for name in RELEVANT} < set(PLAIN)


def test_plain_concepts_with_either_line_end(source):
    found = read_mirflickr(source, OPTIONS)
    assert found.labels.names == PLAIN
    assert labels(found) == {"im1": ["sky"], "im2": [], "im10": ["animals", "sky"]}


@pytest.mark.parametrize(
    "concepts, names, of_photo_2",
    [
        ("r1", RELEVANT, ["baby_r1"]),
        ("both", (*PLAIN, *RELEVANT), ["baby_r1"]),
        (("sky", "sea"), ("sky", "sea"), []),
    ],
)
def test_other_concepts(source, concepts, names, of_photo_2):
    found = read_mirflickr(source, OPTIONS.model_copy(update={"concepts": concepts}))
    assert found.labels.names == names
    assert labels(found)["im2"] == of_photo_2


def test_photos_on_no_list_can_be_dropped(source):
    found = read_mirflickr(source, OPTIONS.model_copy(update={"empty": "drop"}))
    assert [r.key for r in found.records] == ["im1", "im10"]


def test_a_number_without_a_photo_names_file_row_and_value(source):
    (source / "lists/tree.txt").write_bytes(b"1\r\n\r\n4711\r\n")
    with pytest.raises(
        DatasetError,
        match=r"tree.txt: line 3 names photo 4711, but images/im4711.jpg does not exist; copy",
    ):
        read_mirflickr(source, OPTIONS)


@pytest.mark.parametrize("line", ["im7.jpg", "-1", "1.0", "²", "9" * 5000])
def test_a_line_that_is_no_number(source, line):
    (source / "lists/tree.txt").write_text(f"1\n{line}\n", encoding="utf-8")
    with pytest.raises(DatasetError, match=r"tree.txt: line 2 is '.*', not the number of a photo"):
        read_mirflickr(source, OPTIONS)


def test_a_number_listed_twice(source):
    (source / "lists/tree.txt").write_text("1\n2\n1\n")
    with pytest.raises(DatasetError, match=r"line 3 names photo 1, already on line 1; remove one"):
        read_mirflickr(source, OPTIONS)


def test_a_missing_list_is_not_an_empty_one(source):
    (source / "lists/water.txt").unlink()
    with pytest.raises(DatasetError, match=r"water.txt: no such annotation file"):
        read_mirflickr(source, OPTIONS)


def test_missing_photos(source):
    with pytest.raises(
        DatasetError, match=r"no such folder; check --source, or set options.images"
    ):
        read_mirflickr(source, MirflickrOptions())
    with pytest.raises(DatasetError, match=r"holds no photo imN.jpg; check options.images"):
        read_mirflickr(source, MirflickrOptions(images="lists"))


def test_an_unknown_selection_of_concepts():
    with pytest.raises(ConfigError, match="concepts"):
        parse(MirflickrOptions, {"concepts": "strict"}, source="x.toml")
