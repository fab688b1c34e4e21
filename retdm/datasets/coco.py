"""Reader of COCO `instances_*.json` files, as labels of whole images.

An image has a label if at least one of its annotations has that category. Crowd annotations
count (`crowd = "count"`): the usual multi-label protocol takes every annotation, and a crowd
of people does show people. Images without any annotation are kept with no label
(`empty = "keep"`): the 82,783 / 40,504 images of train2014 / val2014 include them. Columns
follow the category ids, ascending, as in the official files (not the alphabet).
"""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from pydantic import Field, model_validator

from retdm.config import Settings
from retdm.datasets.files import inside, key_of, photo, read_bytes
from retdm.datasets.record import Dataset, Record
from retdm.errors import DatasetError, shown
from retdm.json_input import with_single_keys
from retdm.labels import LabelSpace

Row = dict[str, Any]


class CocoOptions(Settings):
    """Options of the `coco` reader (`options.*`)."""

    annotations: str | dict[str, str] = Field(
        description="The JSON file (splits are drawn), or one for each split by name"
    )
    images: str | dict[str, str] = Field(
        default="images", description="Folder of the photos, or one for each split"
    )
    crowd: Literal["count", "ignore"] = Field(
        default="count", description="Whether an iscrowd annotation gives its label"
    )
    empty: Literal["keep", "drop"] = Field(default="keep", description="Images that have no label")

    @model_validator(mode="after")
    def _same_splits(self) -> "CocoOptions":
        splits = set(self.annotations) if isinstance(self.annotations, dict) else set()
        if isinstance(self.images, dict) and set(self.images) != splits:
            raise ValueError(
                f"images names folders for {sorted(self.images)}, annotations files for "
                f"{sorted(splits)}; name the same splits, or one folder for all"
            )
        return self


def read_coco(source: Path, options: CocoOptions) -> Dataset:
    """Read one file, or one for each listed split.

    Raises:
        DatasetError: If a file is missing, cut off or not in COCO format, names an absent
            photo or an unknown id, or the files disagree on the categories.
    """
    files = options.annotations
    listed = [(None, files)] if isinstance(files, str) else list(files.items())
    categories: dict[int, str] = {}
    first = ""
    records: list[Record] = []
    for split, name in listed:
        option = f"options.annotations.{split}" if split else "options.annotations"
        path = inside(source, name, where=option)
        content = _load(path, option=option)
        found = _categories(content, name)
        if categories and found != categories:
            raise DatasetError(_disagreement(first, categories, name, found))
        categories, first = found, first or name
        records += _records(source, content, name, split, sorted(found), options)
    labels = LabelSpace(tuple(categories[number] for number in sorted(categories)))
    return Dataset(labels=labels, records=tuple(records))


def _load(path: Path, *, option: str) -> Row:
    raw = read_bytes(path, option=option)
    try:
        # Outlines are most of an official file; dropping each as it is parsed saves gigabytes.
        content = json.loads(raw, object_pairs_hook=_without_outline)
    except (ValueError, RecursionError) as error:
        raise DatasetError(
            f"{path}: not valid JSON ({error}; the file has {len(raw)} bytes); "
            "it may be cut off: copy or download it again"
        ) from None
    if not isinstance(content, dict):
        raise DatasetError(f"{path}: holds a {type(content).__name__}, not a COCO object")
    return content


def _without_outline(pairs: list[tuple[str, Any]]) -> Row:
    row = with_single_keys(pairs)
    row.pop("segmentation", None)
    return row


def _rows(content: Row, table: str, name: str) -> Iterator[tuple[str, Row]]:
    """Each row of a COCO table with its place for messages."""
    rows = content.get(table)
    if not isinstance(rows, list):
        raise DatasetError(
            f"{name}: has no list {table!r}; a COCO instances file has images, annotations "
            "and categories"
        )
    for number, row in enumerate(rows):
        where = f"{name}: {table}[{number}]"
        if not isinstance(row, dict):
            raise DatasetError(f"{where} is {shown(row)}, not an object; repair the file")
        yield where, row


def _field(row: Row, field: str, kind: type, where: str) -> Any:
    value = row.get(field)
    if not isinstance(value, kind) or isinstance(value, bool):
        found = f"is {shown(value)}" if field in row else "is missing"
        raise DatasetError(f"{where}: {field!r} {found}, wanted {kind.__name__}; repair the file")
    return value


def _categories(content: Row, name: str) -> dict[int, str]:
    found: dict[int, str] = {}
    for where, row in _rows(content, "categories", name):
        number = _field(row, "id", int, where)
        if number in found:
            raise DatasetError(f"{where}: category id {number} is listed twice; repair the file")
        found[number] = _field(row, "name", str, where)
    if not found:
        raise DatasetError(f"{name}: 'categories' is empty; a data set needs at least one label")
    return found


def _disagreement(first: str, one: dict[int, str], second: str, two: dict[int, str]) -> str:
    number = min(k for k in {*one, *two} if one.get(k) != two.get(k))
    return (
        f"{second}: category {number} is {two.get(number)!r}, in {first} it is "
        f"{one.get(number)!r}; all splits must have the same categories"
    )


def _records(
    source: Path, content: Row, name: str, split: str | None, order: list[int], o: CocoOptions
) -> list[Record]:
    """The records of one annotation file; `order` holds the category ids by column."""
    folder = o.images if isinstance(o.images, str) else o.images[split or ""]
    option = "options.images" if isinstance(o.images, str) else f"options.images.{split}"
    column = {number: index for index, number in enumerate(order)}
    photos: dict[int, tuple[str, str]] = {}
    for where, row in _rows(content, "images", name):
        image_id = _field(row, "id", int, where)
        if image_id in photos:
            raise DatasetError(f"{where}: duplicate image id {image_id}; repair the file")
        photos[image_id] = (where, _field(row, "file_name", str, where))
    found: dict[int, set[int]] = {image_id: set() for image_id in photos}
    for where, row in _rows(content, "annotations", name):
        image_id = _field(row, "image_id", int, where)
        number = _field(row, "category_id", int, where)
        if number not in column:
            raise DatasetError(
                f"{where}: unknown category id {number} (of image {image_id}); "
                f"'categories' has {len(order)} others: add it there or remove the annotation"
            )
        if image_id not in found:
            raise DatasetError(
                f"{where}: image id {image_id} is not in 'images'; add it or remove the annotation"
            )
        if o.crowd == "count" or not row.get("iscrowd"):
            found[image_id].add(column[number])
    return [
        Record(
            key=key_of(file),
            image=photo(source, folder, file, where=where, option=option),
            labels=tuple(sorted(found[image_id])),
            split=split,
            where=where,
        )
        for image_id, (where, file) in photos.items()
        if found[image_id] or o.empty == "keep"
    ]
