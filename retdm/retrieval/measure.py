"""How well a split is searched, in each direction that the space allows.

images
    Each image among the others. "shared": those with a label in common are relevant; "same": those
    with the same label set.
labels
    Each distinct label set of the split, embedded by the label net, among all images: those that
    have all its labels are relevant. The empty set is left out.
label_sets
    Each image among the distinct label sets of the split: its own one is relevant, so AP@k is 1
    over its place, and hit@k the share of images that find it.
"""

from collections.abc import Callable, Sequence

import numpy as np
import torch
from jaxtyping import Bool, Float32, Int64
from numpy import ndarray

from retdm.bank import LabelSets
from retdm.retrieval.nearest import Nearest
from retdm.retrieval.precision import average_precision_at, precision_at

_AT_ONCE = 1024
"""Queries; the table of what is relevant to them has a column for each image."""

Relevant = Callable[[Bool[ndarray, "queries labels"]], Bool[ndarray, "queries things"]]
Measures = dict[str, float]


def image_to_image(
    points: Float32[ndarray, "images embed"],
    targets: Bool[ndarray, "images labels"],
    *,
    at: Sequence[int],
) -> Measures:
    """Each image as a query among the others.

    Args:
        points: The images.
        targets: Their labels.
        at: Lengths k of lists.

    Returns:
        `images.shared.precision@k`, `images.shared.mAP@k` and the same of `images.same`, for
        each k.
    """
    # One more, for itself is among them, if not always first: others may lie at the same point.
    rows = Nearest(points).search(points, max(at) + 1).rows
    others = _without_itself(rows)
    found: Measures = {}
    for name, relevant in (("shared", _shares(targets)), ("same", _same(targets))):
        found |= _measured(f"images.{name}", targets, others, relevant, at, itself=True)
    return found


def labels_to_image(
    points: Float32[ndarray, "images embed"],
    targets: Bool[ndarray, "images labels"],
    place: Callable[[Bool[ndarray, "sets labels"]], Float32[ndarray, "sets embed"]],
    *,
    at: Sequence[int],
) -> Measures:
    """Each distinct label set as a query among the images, and each image among the sets.

    Args:
        points: The images.
        targets: Their labels.
        place: From label sets to points of the same space.
        at: Lengths k of lists.

    Returns:
        `labels.precision@k`, `labels.mAP@k`, `label_sets.hit@k` and `label_sets.mAP@k` for each k.
    """
    numbered = LabelSets(torch.from_numpy(targets))
    sets, own = numbered.targets.numpy(), numbered.set_id.numpy()
    set_points = place(sets)
    asked = sets.any(axis=1)
    rows = Nearest(points).search(set_points[asked], max(at)).rows
    found = _measured("labels", sets[asked], rows, _has_all(targets), at)
    near = Nearest(set_points).search(points, max(at)).rows
    hits, one = near == own[:, None], np.ones(len(own), np.int64)
    for k in at:
        found[f"label_sets.hit@{k}"] = float(hits[:, :k].any(axis=1).mean())
        found[f"label_sets.mAP@{k}"] = float(average_precision_at(hits[:, :k], one).mean())
    return found


def _without_itself(rows: Int64[ndarray, "images k"]) -> Int64[ndarray, "images others"]:
    """Lists without their query; without their last where it is not among them."""
    itself = rows == np.arange(len(rows))[:, None]
    itself[~itself.any(axis=1), -1] = True
    return np.asarray(rows[~itself].reshape(len(rows), -1))


def _measured(
    name: str,
    queries: Bool[ndarray, "queries labels"],
    rows: Int64[ndarray, "queries k"],
    relevant: Relevant,
    at: Sequence[int],
    *,
    itself: bool = False,
) -> Measures:
    flags, existing = [], []
    for begin in range(0, len(queries), _AT_ONCE):
        part = slice(begin, begin + _AT_ONCE)
        table = relevant(queries[part])
        flags.append(np.take_along_axis(table, rows[part], axis=1))
        existing.append(table.sum(axis=1) - itself)
    flag, there = np.concatenate(flags), np.concatenate(existing)
    counted = there > 0
    if not counted.any():
        return {f"{name}.{kind}@{k}": float("nan") for k in at for kind in ("precision", "mAP")}
    found = {}
    for k in at:
        first = flag[counted, :k]
        found[f"{name}.precision@{k}"] = float(precision_at(first).mean())
        found[f"{name}.mAP@{k}"] = float(average_precision_at(first, there[counted]).mean())
    return found


def _shares(targets: Bool[ndarray, "images labels"]) -> Relevant:
    columns = targets.astype(np.float32).T

    def relevant(queries: Bool[ndarray, "queries labels"]) -> Bool[ndarray, "queries images"]:
        return np.asarray(queries.astype(np.float32) @ columns > 0)

    return relevant


def _same(targets: Bool[ndarray, "images labels"]) -> Relevant:
    sizes, shared = targets.sum(axis=1), targets.astype(np.float32).T

    def relevant(queries: Bool[ndarray, "queries labels"]) -> Bool[ndarray, "queries images"]:
        common = queries.astype(np.float32) @ shared
        return np.asarray((common == sizes) & (common == queries.sum(axis=1)[:, None]))

    return relevant


def _has_all(targets: Bool[ndarray, "images labels"]) -> Relevant:
    columns = targets.astype(np.float32).T

    def relevant(queries: Bool[ndarray, "queries labels"]) -> Bool[ndarray, "queries images"]:
        return np.asarray(queries.astype(np.float32) @ columns == queries.sum(axis=1)[:, None])

    return relevant
