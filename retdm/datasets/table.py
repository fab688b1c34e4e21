"""Reader of one's own table: CSV or Parquet, a path column, and labels in one of two forms.

Either one column of 0/1 for each label, or one column that lists the labels of the row
("beach;people"; in Parquet also a list column). Row 1 of a CSV is its header, and messages
count rows the same way in Parquet.
"""

import csv
import io
import json
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import Field

from retdm.config import Settings
from retdm.datasets.files import inside, key_of, photo, read_bytes, safe_key
from retdm.datasets.record import Dataset, Record
from retdm.errors import DatasetError, shown
from retdm.labels import LabelSpace
from retdm.parquet_input import read_parquet

_ROW_NUMBERS = "__index_level_"
_YES = {"1", "1.0", "true"}
_DELIMITERS = ";\t|,"
_NO = {"0", "0.0", "false"}


Rows = list[tuple[str, dict[str, Any]]]
"""Each row with its place for messages."""
Columns = list[tuple[int, ...]]
"""The label columns of each row."""


class TableOptions(Settings):
    """Options of the `table` reader (`options.*`)."""

    file: str = Field(default="labels.csv", description="CSV, or Parquet if it ends in .parquet")
    images: str = Field(default="images", description='Folder of the photos; "": the source')
    delimiter: str = Field(default=",", min_length=1, max_length=1, description="Of CSV cells")
    path_column: str = Field(default="path", description="Path of the photo in `images`")
    key_column: str = Field(default="", description="Name of the sample; empty: from the path")
    split_column: str = Field(default="", description="Split of the photo; empty: drawn")
    label_column: str = Field(default="", description="Column that lists labels; empty: 0/1 ones")
    separator: str = Field(default=";", min_length=1, description="In the label column")
    labels: tuple[str, ...] = Field(
        default=(), description="Labels in order; empty: all there are (listed ones: sorted)"
    )


def read_table(source: Path, options: TableOptions) -> Dataset:
    """Read the table and find its photos.

    Raises:
        DatasetError: If the file cannot be parsed, a column is missing, or a row has a wrong
            value, an unknown label, an absent photo or a key seen before.
    """
    path = inside(source, options.file, where="options.file")
    raw = read_bytes(path, option="options.file")
    parquet = path.suffix in (".parquet", ".pq")
    header, rows = _parquet(raw, path) if parquet else _csv(raw, path, options.delimiter)
    wanted = (options.path_column, options.key_column, options.split_column, options.label_column)
    for column, name in zip(("path", "key", "split", "label"), wanted, strict=True):
        if (name and name not in header) or (not name and column == "path"):
            raise DatasetError(
                f"{path}: no column {name!r}, it has: {', '.join(header)}; "
                f"set options.{column}_column"
            )
    if not rows:
        raise DatasetError(f"{path}: no row below the header; add one for each photo")
    if options.label_column:
        labels, columns = _listed(path, rows, options)
    else:
        labels, columns = _one_column_each(path, header, rows, options)
    records = []
    for (where, row), found in zip(rows, columns, strict=True):
        name = _text(row, options.path_column, where)
        records.append(
            Record(
                key=safe_key(_text(row, options.key_column, where))
                if options.key_column
                else key_of(name),
                image=photo(source, options.images, name, where=where, option="options.images"),
                labels=found,
                split=_text(row, options.split_column, where) if options.split_column else None,
                where=where,
            )
        )
    return Dataset(labels=labels, records=tuple(records))


def _csv(raw: bytes, path: Path, delimiter: str) -> tuple[list[str], Rows]:
    try:
        text = raw.decode("utf-8-sig")
        table = list(csv.reader(io.StringIO(text, newline=""), delimiter=delimiter, strict=True))
    except (UnicodeDecodeError, csv.Error) as error:
        raise DatasetError(f"{path}: not a UTF-8 CSV file ({error}); save it as one") from None
    if not table:
        raise DatasetError(f"{path}: the file is empty; the first row must name the columns")
    header = [name.strip() for name in table[0]]
    if len(header) == 1 and (other := max(_DELIMITERS, key=header[0].count)) in header[0]:
        raise DatasetError(
            f"{path}: the header is one cell, {header[0]!r}, so the cells seem to be separated by "
            f"{other!r} rather than {delimiter!r}; set options.delimiter={json.dumps(other)}"
        )
    _refuse_twins(header, path)
    rows: Rows = []
    for number, cells in enumerate(table[1:], start=2):
        if not cells:
            continue
        where = f"{path.name}: row {number}"
        if len(cells) != len(header):
            raise DatasetError(
                f"{where} has {len(cells)} cells, the header has {len(header)}; the file may be "
                f"cut off, or options.delimiter {delimiter!r} wrong"
            )
        rows.append((where, dict(zip(header, cells, strict=True))))
    return header, rows


def _parquet(raw: bytes, path: Path) -> tuple[list[str], Rows]:
    try:
        table = read_parquet(raw)
        # pandas writes its row numbers as a column of this name.
        table = table.drop_columns([n for n in table.column_names if n.startswith(_ROW_NUMBERS)])
        found = table.to_pylist()
    except (ValueError, OverflowError) as error:  # also of dates that Python does not have
        raise DatasetError(
            f"{path}: not a readable Parquet file ({error}); it may be cut off: write it again"
        ) from None
    header = [str(name) for name in table.column_names]
    _refuse_twins(header, path)
    return header, [(f"{path.name}: row {i}", row) for i, row in enumerate(found, start=2)]


def _refuse_twins(header: Sequence[str], path: Path) -> None:
    if len(set(header)) < len(header):
        twin = Counter(header).most_common(1)[0][0]
        raise DatasetError(f"{path}: column {shown(twin)} is there twice; rename one")


def _text(row: dict[str, Any], column: str, where: str) -> str:
    value = row[column]
    text = "" if value is None else str(value).strip()
    if not text:
        raise DatasetError(f"{where}: column {column!r} is empty; fill it or remove the row")
    return text


def _one_column_each(
    path: Path, header: list[str], rows: Rows, options: TableOptions
) -> tuple[LabelSpace, Columns]:
    special = {options.path_column, options.key_column, options.split_column}
    names = options.labels or tuple(name for name in header if name not in special)
    there = set(header)
    if missing := [name for name in names if name not in there]:
        raise DatasetError(
            f"{path}: no column for label {missing[0]!r}, it has: {', '.join(header)}; "
            "correct options.labels"
        )
    if not names:
        raise DatasetError(
            f"{path}: no label columns beside {', '.join(header)}; set options.label_column "
            "if one column lists the labels"
        )

    columns = [
        tuple(i for i, name in enumerate(names) if _is_yes(row[name], name, where))
        for where, row in rows
    ]
    return LabelSpace(tuple(names)), columns


def _is_yes(value: Any, name: str, where: str) -> bool:
    text = str(value).strip().lower()
    if text not in _YES and text not in _NO:
        raise DatasetError(
            f"{where}: label column {name!r} is {value!r}, wanted 0 or 1; correct it, or name "
            "the label columns in options.labels if it is not one"
        )
    return text in _YES


def _listed(path: Path, rows: Rows, options: TableOptions) -> tuple[LabelSpace, Columns]:
    found = [_names(row[options.label_column], where, options) for where, row in rows]
    labels = LabelSpace(options.labels or tuple(sorted({n for names in found for n in names})))
    known = {name: column for column, name in enumerate(labels.names)}
    columns = []
    for (where, _), names in zip(rows, found, strict=True):
        columns.append(
            tuple(sorted(known[n] if n in known else labels.index(n, where=where) for n in names))
        )
    return labels, columns


def _names(value: Any, where: str, options: TableOptions) -> set[str]:
    """The labels of one cell; an empty cell is a photo of none."""
    if value is None:
        return set()
    parts = value if isinstance(value, list) else str(value).split(options.separator)
    names = [str(part).strip() for part in parts]
    names = [name for name in names if name]
    if len(set(names)) != len(names):
        twin = Counter(names).most_common(1)[0][0]
        raise DatasetError(f"{where}: label {shown(twin)} is listed twice; remove one")
    return set(names)
