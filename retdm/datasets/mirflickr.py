"""Reader of MIRFLICKR-25K in its official layout: photos imN.jpg, one text file a concept.

Each line of `<concept>.txt` is the number of a photo that shows the concept. There are 24
"potential" lists, the plain names, and 14 stricter "relevant" ones, ending in `_r1`. Photos
that are on no list are kept with no label: 419 of the 25,000.
"""

import re
from pathlib import Path
from typing import Literal

from pydantic import Field

from retdm.config import Settings
from retdm.datasets.files import inside, read_bytes
from retdm.datasets.record import Dataset, Record
from retdm.errors import DatasetError
from retdm.labels import LabelSpace

PLAIN = (
    *("animals", "baby", "bird", "car", "clouds", "dog", "female", "flower", "food", "indoor"),
    *("lake", "male", "night", "people", "plant_life", "portrait", "river", "sea", "sky"),
    *("structures", "sunset", "transport", "tree", "water"),
)
"""The 24 concepts of the paper."""

RELEVANT = (
    *("baby_r1", "bird_r1", "car_r1", "clouds_r1", "dog_r1", "female_r1", "flower_r1"),
    *("male_r1", "night_r1", "people_r1", "portrait_r1", "river_r1", "sea_r1", "tree_r1"),
)
"""The 14 stricter lists."""

_LONGEST_NUMBER = 18
_PHOTO = re.compile(r"im([1-9][0-9]*)\.jpg")


class MirflickrOptions(Settings):
    """Options of the `mirflickr` reader (`options.*`)."""

    images: str = Field(default="mirflickr", description="Folder of the photos")
    annotations: str = Field(
        default="mirflickr25k_annotations_v080", description="Folder of the concept lists"
    )
    concepts: Literal["plain", "r1", "both"] | tuple[str, ...] = Field(
        default="plain", description="The 24 plain lists, the 14 _r1, all 38, or names"
    )
    empty: Literal["keep", "drop"] = Field(
        default="keep", description="Photos that are on no list"
    )


def read_mirflickr(source: Path, options: MirflickrOptions) -> Dataset:
    """Read every photo in the folder and the concept lists.

    Raises:
        DatasetError: If a list is missing, has a line that is no number or numbers a photo
            twice or one that is absent.
    """
    photos = _photos(inside(source, options.images, where="options.images"))
    concepts = {"plain": PLAIN, "r1": RELEVANT, "both": (*PLAIN, *RELEVANT)}
    chosen = options.concepts
    names = concepts[chosen] if isinstance(chosen, str) else chosen
    labels = LabelSpace(tuple(names))
    folder = inside(source, options.annotations, where="options.annotations")
    found: dict[int, list[int]] = {number: [] for number in photos}
    for column, concept in enumerate(names):
        path = inside(folder, f"{concept}.txt", where="options.concepts")
        for number in _numbers(path, photos, options.images):
            found[number].append(column)
    return Dataset(
        labels=labels,
        records=tuple(
            Record(
                key=f"im{number}",
                image=path,
                labels=tuple(found[number]),
                split=None,
                where=f"{options.images}/{path.name}",
            )
            for number, path in sorted(photos.items())
            if found[number] or options.empty == "keep"
        ),
    )


def _photos(folder: Path) -> dict[int, Path]:
    """Photos of the folder by number; other files and folders there are left alone."""
    if not folder.is_dir():
        raise DatasetError(f"{folder}: no such folder; check --source, or set options.images")
    found = {
        int(match[1]): path for path in folder.iterdir() if (match := _PHOTO.fullmatch(path.name))
    }
    if not found:
        raise DatasetError(f"{folder}: holds no photo imN.jpg; check options.images")
    return found


def _numbers(path: Path, photos: dict[int, Path], images: str) -> list[int]:
    """The photo numbers of one list; lines may end in LF or CRLF, blank ones do not count."""
    text = read_bytes(path, option="options.annotations").decode("utf-8", errors="replace")
    numbers: dict[int, int] = {}
    for row, line in enumerate(text.splitlines(), start=1):
        value = line.strip()
        if not value:
            continue
        if not (value.isascii() and value.isdigit() and len(value) <= _LONGEST_NUMBER):
            raise DatasetError(
                f"{path}: line {row} is {value[:40]!r}, not the number of a photo; "
                "repair the list or copy it again"
            )
        number = int(value)
        if number not in photos:
            raise DatasetError(
                f"{path}: line {row} names photo {number}, but {images}/im{number}.jpg does not "
                "exist; copy the photo there or remove the line"
            )
        if number in numbers:
            raise DatasetError(
                f"{path}: line {row} names photo {number}, already on line {numbers[number]}; "
                "remove one of the lines"
            )
        numbers[number] = row
    return list(numbers)
