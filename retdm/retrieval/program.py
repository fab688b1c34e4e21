"""What `python -m retdm.search` does, from what was asked for to what it prints."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from jaxtyping import Float32
from numpy import ndarray

from retdm import console
from retdm.bank import LabelSets
from retdm.data.split import open_split
from retdm.evaluation.strict_json import strict_json
from retdm.methods.common_space import common_space
from retdm.predictor import Predictor, load
from retdm.retrieval.embedded import Embedded, check_fits, embed_split, from_npz
from retdm.retrieval.measure import image_to_image, labels_to_image
from retdm.retrieval.nearest import Found, Nearest, need_search
from retdm.retrieval.space import image_points, label_points, to_targets
from retdm.storage import Store, open_file
from retdm.storage.place import open_file_to_write

_AT = (1, 5, 10)
_LISTED = 10


@dataclass(frozen=True)
class Asked:
    """The command line; see its help."""

    model: str
    image: str | None
    label: list[str] | None
    measure: bool
    wanted: str | None
    k: int | None
    among: str | None
    data: str | None
    split: str | None
    checkpoint: str
    json: str | None


def search(asked: Asked) -> None:
    """Search, and print what is found.

    Raises:
        RetdmError: If what was asked for cannot be done.
    """
    need_search()
    target = None if asked.json is None else open_file_to_write(asked.json, option="--json")
    model = load(asked.model, checkpoint=asked.checkpoint)
    if asked.measure:
        _measure(model, _among(asked, model), target)
        return
    # Before the split is embedded, which takes longer.
    query = _query(asked, model)
    for line in _found(asked, model, query, _among(asked, model)):
        print(line)


def _among(asked: Asked, model: Predictor) -> Embedded:
    if asked.among is None:
        settings = model.config.data
        return embed_split(
            model, open_split(asked.data or settings.url, asked.split or settings.test_split)
        )
    store, name = open_file(asked.among)
    embedded = from_npz(store.read(name), name=asked.among)
    check_fits(embedded, model, name=asked.among)
    return embedded


def _measure(model: Predictor, among: Embedded, target: tuple[Store, str] | None) -> None:
    images = image_points(model, among.embeddings), among.targets
    found = image_to_image(*images, at=_AT)
    if common_space(model.method) is not None:
        found |= labels_to_image(*images, partial(label_points, model), at=_AT)
    width = max(map(len, found))
    for name, value in found.items():
        print(f"{name:{width}}  {value:.4f}")
    if target is not None:
        store, name = target
        about = {"model": among.model, "images": len(among.keys)}
        store.write(name, strict_json({**about, "metrics": found}))


def _query(asked: Asked, model: Predictor) -> Float32[ndarray, "1 embed"]:
    if asked.label:
        return label_points(model, to_targets([asked.label], model.labels))
    if asked.wanted == "labels":
        label_points(model, to_targets([[]], model.labels))  # or it has none
    return image_points(model, model.embed(str(asked.image)))


def _found(
    asked: Asked, model: Predictor, query: Float32[ndarray, "1 embed"], among: Embedded
) -> Iterator[str]:
    names: Sequence[str]
    if asked.wanted != "labels":
        points, targets, names = image_points(model, among.embeddings), among.targets, among.keys
    else:
        sets = LabelSets(torch.from_numpy(among.targets))
        targets = sets.targets.numpy()
        points = label_points(model, targets)
        names = [console.counted(count, "image") for count in np.bincount(sets.set_id).tolist()]
    found = Nearest(points).search(query, asked.k or _LISTED)
    return _lines(found, names, [_words(row, among.labels) for row in targets])


def _words(targets: "np.ndarray[tuple[int], np.dtype[np.bool_]]", labels: Sequence[str]) -> str:
    chosen = [label for label, there in zip(labels, targets.tolist(), strict=True) if there]
    return ", ".join(chosen) or "no label"


def _lines(found: Found, names: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    (rows,), (distances,) = found.rows.tolist(), found.distances.tolist()
    shown = [console.plain(names[row]) for row in rows]
    width = max(map(len, shown))
    yield f"distance  {'':{width}}  labels"
    for row, name, distance in zip(rows, shown, distances, strict=True):
        yield f"{distance:8.4f}  {name:{width}}  {console.plain(words[row])}"
