"""Writes rendered scenes as a data set in COCO format: JPEGs and two instances files.

Image i depends on (seed, size, i) only. Every fifth image is a test image. The JSON files
come last, so a folder that has both is complete.
"""

import json
import multiprocessing
import os
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from retdm.console import progress
from retdm.datasets.synthetic.canvas import Box
from retdm.datasets.synthetic.scene import LABELS, draw_scene, render
from retdm.errors import DatasetError

FILES = {"train": "instances_train.json", "test": "instances_test.json"}
IMAGES = "images"
_ALONE = 200
_RECIPE = 1
"""Raised whenever the same seed would give other pictures."""


def generate(out: Path, *, images: int, seed: int, size: int) -> bool:
    """Render a set into the folder `out`, unless the same one is already there.

    Args:
        out: Made if needed; gets images/, instances_train.json and instances_test.json.
        images: How many; at least 5.
        seed: Another seed gives other scenes.
        size: Longer side, pixels.

    Returns:
        False if the set was there already.

    Raises:
        DatasetError: If `out` holds a set made with other numbers.
    """
    info = {"description": "retdm synthetic scenes", "recipe": _RECIPE}
    info |= {"images": images, "seed": seed, "size": size}
    if _is_there(out, info):
        return False
    (out / IMAGES).mkdir(parents=True, exist_ok=True)
    tables = {split: _empty(info) for split in FILES}
    paint = partial(_paint, out / IMAGES, seed=seed, size=size)
    with _workers(images) as each:
        painted = progress(
            each(paint, range(images)), total=images, label="rendering", unit="scene"
        )
        for index, (name, width, height, boxes) in enumerate(painted):
            table = tables["test" if index % 5 == 4 else "train"]
            _add(table, index, name, (width, height), boxes)
    for split, table in tables.items():
        temporary = out / f".{FILES[split]}.part"
        temporary.write_text(json.dumps(table), encoding="utf-8")
        os.replace(temporary, out / FILES[split])
    return True


def _paint(
    folder: Path, index: int, *, seed: int, size: int
) -> tuple[str, int, int, list[tuple[str, Box]]]:
    """Render one scene into `folder`; returns name, width, height and boxes."""
    rng = np.random.Generator(np.random.Philox(key=[seed, index]))
    picture, boxes = render(draw_scene(rng), rng, size=size)
    name = f"scene-{index:06d}.jpg"
    picture.save(folder / name, quality=int(rng.integers(82, 94)))
    return name, picture.width, picture.height, boxes


@contextmanager
def _workers(images: int) -> Iterator[Callable[..., Iterable[Any]]]:
    """A `map` over processes, in order; a few scenes are not worth starting any."""
    if images < _ALONE:
        yield map
        return
    with multiprocessing.get_context("forkserver").Pool() as pool:
        yield partial(pool.imap, chunksize=8)


def _is_there(out: Path, wanted: dict[str, Any]) -> bool:
    """Whether both files exist, made by the same call."""
    paths = [out / name for name in FILES.values()]
    for path in paths:
        if not path.exists():
            continue
        try:
            found = json.loads(path.read_bytes())["info"]
        except (ValueError, KeyError, TypeError):
            found = "something else"
        if found != wanted:
            raise DatasetError(
                f"{path}: holds {found}, wanted {wanted}; choose another folder, or delete it"
            )
    return all(path.exists() for path in paths)


def _empty(info: dict[str, Any]) -> dict[str, Any]:
    categories = [
        {"id": number, "name": name, "supercategory": "scene"}
        for number, name in enumerate(LABELS, start=1)
    ]
    return {"info": info, "images": [], "annotations": [], "categories": categories}


def _add(
    table: dict[str, Any],
    index: int,
    name: str,
    size: tuple[int, int],
    boxes: list[tuple[str, Box]],
) -> None:
    image_id = index + 1
    table["images"].append(
        {"id": image_id, "file_name": name, "width": size[0], "height": size[1]}
    )
    for number, (label, box) in enumerate(boxes):
        table["annotations"].append(
            {
                "id": image_id * 100 + number,
                "image_id": image_id,
                "category_id": LABELS.index(label) + 1,
                "bbox": list(box),
                "area": box[2] * box[3],
                "iscrowd": 0,
            }
        )
