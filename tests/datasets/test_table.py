"""The table reader: CSV and Parquet, 0/1 columns and a column of lists."""

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from retdm.datasets.table import TableOptions, read_table
from retdm.errors import DatasetError

CSV = "Filenames,beach,people\r\n1.jpg,1,0\r\nsub/2.jpg,0,0\r\n3.jpg,1.0,true\r\n"
OPTIONS = TableOptions(path_column="Filenames")
LISTED = TableOptions(label_column="tags")


@pytest.fixture
def write(tmp_path, photos):
    photos(tmp_path / "images", ["1.jpg", "sub/2.jpg", "3.jpg"])

    def save(text):
        (tmp_path / "labels.csv").write_text(text, encoding="utf-8", newline="")
        return tmp_path

    return save


def labels(dataset):
    return {r.key: [dataset.labels.names[i] for i in r.labels] for r in dataset.records}


WANTED = {"1": ["beach"], "sub__2": [], "3": ["beach", "people"]}


@pytest.mark.parametrize("text", [CSV, "\ufeff" + CSV, CSV.replace("\r", ""), CSV + "\r\n\r\n"])
def test_one_column_for_each_label(write, text):
    found = read_table(write(text), OPTIONS)
    assert found.labels.names == ("beach", "people")
    assert labels(found) == WANTED
    assert [r.where for r in found.records] == [f"labels.csv: row {n}" for n in (2, 3, 4)]


def test_one_column_that_lists_labels(write):
    text = 'path,tags\n1.jpg,beach\nsub/2.jpg,\n3.jpg,"people; beach"\n'
    found = read_table(write(text), LISTED)
    assert found.labels.names == ("beach", "people")
    assert labels(found) == WANTED


def test_listed_labels_can_have_a_fixed_order_and_separator(write):
    text = "path|tags\n1.jpg|beach\nsub/2.jpg|\n3.jpg|people,beach\n"
    options = TableOptions(
        label_column="tags", delimiter="|", separator=",", labels=("people", "sky", "beach")
    )
    found = read_table(write(text), options)
    assert found.labels.names == ("people", "sky", "beach")
    assert [r.labels for r in found.records] == [(2,), (), (0, 2)]


def test_parquet_with_either_form(write, tmp_path):
    write("")
    names = ["1.jpg", "sub/2.jpg", "3.jpg"]
    flat = {"path": names, "beach": [1, 0, 1], "people": [False, False, True]}
    pq.write_table(pa.table({**flat, "__index_level_0__": [5, 6, 7]}), tmp_path / "flat.parquet")
    assert labels(read_table(tmp_path, TableOptions(file="flat.parquet"))) == WANTED
    listed = {"path": names, "tags": [["beach"], [], ["people", "beach"]]}
    pq.write_table(pa.table(listed), tmp_path / "listed.parquet")
    options = TableOptions(file="listed.parquet", label_column="tags")
    assert labels(read_table(tmp_path, options)) == WANTED


def test_key_and_split_columns(write):
    text = "path,id,part,a\n1.jpg,x.1,train,1\nsub/2.jpg,y,test,0\n3.jpg,z,train,1\n"
    found = read_table(write(text), TableOptions(key_column="id", split_column="part"))
    assert found.labels.names == ("a",)
    assert [(r.key, r.split) for r in found.records] == [
        *[("x_1", "train"), ("y", "test")],
        ("z", "train"),
    ]


def test_chosen_label_columns_leave_the_others_alone(write):
    text = "path,year,a,b\n1.jpg,2011,1,0\n"
    assert read_table(write(text), TableOptions(labels=("b", "a"))).records[0].labels == (1,)


FAULTS = {
    "absent photo": (
        CSV.replace("sub/2.jpg", "gone.jpg"),
        r"labels.csv: row 3: photo 'gone.jpg' is not in .*images; copy it there",
    ),
    "duplicate photo": (
        CSV.replace("3.jpg", "1.jpg"),
        r"row 4: duplicate key '1', already used by labels.csv: row 2",
    ),
    "not 0 or 1": (
        CSV.replace("1.jpg,1,0", "1.jpg,1,-1"),
        r"labels.csv: row 2: label column 'people' is '-1', wanted 0 or 1; correct it",
    ),
    "cut off": (CSV[:-8], r"labels.csv: row 4 has 2 cells, the header has 3; the file may be cut"),
    "no path": (CSV.replace("sub/2.jpg", " "), "row 3: column 'Filenames' is empty; fill it"),
    "other header": (
        CSV.replace("Filenames", "file"),
        r"no column 'Filenames', it has: file, beach, people; set options.path_column",
    ),
    "column twice": (CSV.replace("people", "beach"), "column 'beach' is there twice; rename one"),
    "only paths": ("Filenames\n1.jpg\n", "no label columns beside Filenames; set options.label_c"),
    "empty": ("", "the file is empty; the first row must name the columns"),
    "header only": (
        "Filenames,a\n",
        "labels.csv: no row below the header; add one for each photo",
    ),
    "semicolons": (
        CSV.replace(",", ";"),
        r"labels.csv: the header is one cell, 'Filenames;beach;people', so the cells seem to be "
        r"separated by ';' rather than ','; set options.delimiter=\";\"$",
    ),
    "tabs": (CSV.replace(",", "\t"), r"by '\\t' rather than ','; set options.delimiter=\"\\t\"$"),
    "leaves": (CSV.replace("1.jpg", "../1.jpg"), "row 2: path '../1.jpg' leaves the source"),
    "open quote": (CSV + '"', "not a UTF-8 CSV file .*; save it as one"),
}


@pytest.mark.parametrize("fault", FAULTS)
def test_wrong_rows_are_named(write, fault):
    text, message = FAULTS[fault]
    with pytest.raises(DatasetError, match=message):
        read_table(write(text), OPTIONS)


def test_another_encoding(write, tmp_path):
    write("")
    (tmp_path / "labels.csv").write_bytes("Filenames,Bäume\n".encode("latin-1"))
    with pytest.raises(DatasetError, match=r"labels.csv: not a UTF-8 CSV file \(.*decode"):
        read_table(tmp_path, OPTIONS)


def test_an_unknown_label_comes_with_the_nearest(write):
    options = LISTED.model_copy(update={"labels": ("beach", "people")})
    with pytest.raises(
        DatasetError,
        match=r"row 2: label 'poeple' is not in the label space \(2 labels\); did you mean 'peop",
    ):
        read_table(write("path,tags\n1.jpg,poeple\n"), options)


def test_a_label_listed_twice(write):
    with pytest.raises(DatasetError, match="row 2: label 'a' is listed twice; remove one"):
        read_table(write("path,tags\n1.jpg,a;b;a\n"), LISTED)


def test_a_label_without_a_column(write):
    with pytest.raises(DatasetError, match="no column for label 'sea', it has: Filenames, beach"):
        read_table(write(CSV), OPTIONS.model_copy(update={"labels": ("sea",)}))


def test_truncated_parquet(write, tmp_path):
    write("")
    pq.write_table(pa.table({"path": ["1.jpg"], "a": [1]}), tmp_path / "t.parquet")
    whole = (tmp_path / "t.parquet").read_bytes()
    (tmp_path / "t.parquet").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DatasetError, match=r"t.parquet: not a readable Parquet file .*write it"):
        read_table(tmp_path, TableOptions(file="t.parquet"))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([b"\xff"], pa.binary()).view(pa.string()),
        pa.array([2**31 - 1], pa.date32()),
        pa.array([2**62], pa.timestamp("us")),
    ],
    ids=["text", "date", "time"],
)
def test_cells_that_python_cannot_hold(write, tmp_path, column):
    write("")
    pq.write_table(pa.table({"path": ["1.jpg"], "a": column}), tmp_path / "t.parquet")
    with pytest.raises(DatasetError, match=r"t.parquet: not a readable Parquet file .*write it"):
        read_table(tmp_path, TableOptions(file="t.parquet"))
