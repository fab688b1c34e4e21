"""Small photos and annotation files for the readers."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image


@pytest.fixture
def photos() -> Callable[[Path, Iterable[str]], None]:
    """Write a small JPEG under each name."""

    def write(folder: Path, names: Iterable[str]) -> None:
        for name in names:
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.new("RGB", (8, 6), (120, 40, 200)).save(path, "JPEG")

    return write


@pytest.fixture
def coco(tmp_path: Path, photos: Any) -> Callable[..., Path]:
    """Write a COCO set of three photos; keyword arguments replace tables of its JSON."""

    def write(name: str = "instances.json", **tables: Any) -> Path:
        content = {
            "images": [{"id": i, "file_name": f"p{i}.jpg"} for i in (7, 3, 5)],
            "annotations": [
                {"id": 1, "image_id": 7, "category_id": 40, "iscrowd": 0},
                {"id": 2, "image_id": 7, "category_id": 40, "iscrowd": 0},
                {"id": 3, "image_id": 7, "category_id": 2, "iscrowd": 0},
                {"id": 4, "image_id": 5, "category_id": 9, "iscrowd": 1},
            ],
            "categories": [
                {"id": 40, "name": "kite"},
                {"id": 2, "name": "dog"},
                {"id": 9, "name": "people"},
            ],
            **tables,
        }
        photos(tmp_path / "images", [row["file_name"] for row in content["images"][:3] if row])
        (tmp_path / name).write_text(json.dumps(content))
        return tmp_path

    return write
