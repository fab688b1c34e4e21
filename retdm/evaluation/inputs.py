"""Scores and targets as every metric wants them, or an error that names the bad entry.

Words used in shapes throughout `retdm.evaluation`: images = rows, labels = columns.
"""

from typing import Any

import numpy as np
import numpy.typing as npt
from jaxtyping import Bool, Float

from retdm.errors import RetdmError

Scores = Float[np.ndarray, "images labels"]
"""Probabilities in [0, 1]; only `threshold` cares for their size, all else for their order."""

Targets = Bool[np.ndarray, "images labels"]
"""True where the image has the label."""


class ScoresError(RetdmError, ValueError):
    """Scores or targets cannot be evaluated; names the array and the first bad entry."""


def checked(
    scores: npt.ArrayLike, targets: npt.ArrayLike, *, where: str = ""
) -> tuple[Scores, Targets]:
    """Scores and targets with the right types, or an error.

    Args:
        scores: Probabilities, 2-D; integers and booleans are taken as 0.0 and 1.0. Floating
            types are kept as they are, so that rounding neither makes nor breaks ties.
        targets: 2-D, booleans or the numbers 0 and 1.
        where: File name for the messages; "" for arrays that come from no file.

    Raises:
        ScoresError: If an array is not 2-D, is empty, is not numeric, the shapes differ, a
            score is not finite or not in [0, 1], or a target is neither 0 nor 1.
    """
    prefix = f"{where}: " if where else ""
    s = _matrix(scores, "scores", prefix)
    t = _matrix(targets, "targets", prefix)
    if s.shape != t.shape:
        raise ScoresError(
            f"{prefix}scores are {_shape(s)} but targets are {_shape(t)}; "
            "both need one row for each image and one column for each label"
        )
    if s.dtype.kind != "f":
        s = s.astype(np.float32)
    _refuse(~np.isfinite(s), s, "scores", prefix, "every score must be a finite number")
    _refuse(
        (s < 0) | (s > 1),
        s,
        "scores",
        prefix,
        "scores are probabilities in [0, 1]; put logits through a sigmoid first",
    )
    if t.dtype != np.bool_:
        _refuse(
            (t != 0) & (t != 1),
            t,
            "targets",
            prefix,
            "a target is 1 where the image has the label and 0 where not",
        )
        t = t.astype(np.bool_)
    return s, t


def _matrix(values: npt.ArrayLike, name: str, prefix: str) -> npt.NDArray[Any]:
    """`values` as a non-empty numeric 2-D array."""
    array = np.asarray(values)
    if array.dtype.kind not in "fiub":
        raise ScoresError(
            f"{prefix}{name} have type {array.dtype}; save them as floating-point numbers, "
            "integers or booleans"
        )
    if array.ndim != 2:
        raise ScoresError(
            f"{prefix}{name} have {array.ndim} dimensions {array.shape}; wanted 2, images x labels"
        )
    if array.size == 0:
        raise ScoresError(f"{prefix}{name} are empty, {_shape(array)}; nothing to evaluate")
    return array


def _refuse(
    bad: npt.NDArray[np.bool_], array: npt.NDArray[Any], name: str, prefix: str, wanted: str
) -> None:
    """Raise for the first entry marked in `bad`, if there is one."""
    count = int(np.count_nonzero(bad))
    if not count:
        return
    row, column = np.unravel_index(int(bad.argmax()), bad.shape)
    more = f" (and {count - 1} more such entries)" if count > 1 else ""
    raise ScoresError(f"{prefix}{name}[{row}, {column}] is {array[row, column]}{more}; {wanted}")


def _shape(array: npt.NDArray[Any]) -> str:
    return f"{array.shape[0]} images x {array.shape[1]} labels"
