"""What holds for the records of every reader."""

from pathlib import Path

import pytest

from retdm.datasets import Dataset, Record
from retdm.errors import DatasetError
from retdm.labels import LabelSpace

LABELS = LabelSpace(("a", "b"))


def record(key, split=None, where="list.csv: row 2"):
    return Record(key=key, image=Path("x.jpg"), labels=(0,), split=split, where=where)


def test_duplicate_keys_name_both_places():
    with pytest.raises(
        DatasetError, match=r"row 5: duplicate key 'x', already used by .*row 2; each photo must"
    ):
        Dataset(LABELS, (record("x"), record("y"), record("x", where="list.csv: row 5")))


def test_names_that_fall_together_are_both_told():
    twins = [
        Record(key="a__b", image=Path(name), labels=(0,), split=None, where=f"l.csv: row {row}")
        for row, name in ((2, "a/b.jpg"), (3, "a__b.jpg"))
    ]
    with pytest.raises(
        DatasetError,
        match=r"^l.csv: row 3: photo a__b.jpg would have the key 'a__b', which photo a/b.jpg has "
        r"already \(l.csv: row 2\): a key is the path without its suffix, '/' written '__' and "
        r"other signs '_'; rename one of them, or let a column name the samples "
        r"\(options.key_column of the table reader\), each differently$",
    ):
        Dataset(LABELS, tuple(twins))


def test_no_photo_is_an_error():
    with pytest.raises(DatasetError, match="holds no photo; check --source"):
        Dataset(LABELS, ())


def test_splits_are_listed_for_all_or_none():
    with pytest.raises(DatasetError, match=r"photo 'y' names no split while .* does; name the"):
        Dataset(LABELS, (record("x", "train"), record("y")))


@pytest.mark.parametrize("split", ["a/b", "..", "", "my split"])
def test_a_split_must_be_able_to_name_a_folder(split):
    with pytest.raises(DatasetError, match="cannot name a folder; use letters"):
        Dataset(LABELS, (record("x", split),))
