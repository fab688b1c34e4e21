"""The label space: which labels exist and in which order their columns stand."""

import difflib
import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from retdm.errors import DatasetError
from retdm.json_input import is_text


@dataclass(frozen=True, slots=True)
class LabelSpace:
    """Label names in column order; two spaces are equal only if names and order are."""

    names: tuple[str, ...]

    def __post_init__(self) -> None:
        if not self.names:
            raise DatasetError("the label space is empty; a data set needs at least one label")
        seen: set[str] = set()
        for name in self.names:
            if not name.strip():
                raise DatasetError("a label name is blank; give every label a name")
            if not is_text(name):
                raise DatasetError(
                    f"label {name!r} has half a character in it, which no file can hold; rename it"
                )
            if name in seen:
                raise DatasetError(f"label {name!r} is listed twice; label names must differ")
            seen.add(name)

    def __len__(self) -> int:
        """Number of labels."""
        return len(self.names)

    @property
    def digest(self) -> str:
        """SHA-256 over names and order, as 64 hex digits."""
        return hashlib.sha256(json.dumps(self.names).encode()).hexdigest()

    def index(self, name: str, *, where: str) -> int:
        """Column of `name`; `where` (file and row) goes into the error.

        Raises:
            DatasetError: If the label is not in the space; offers the nearest one.
        """
        try:
            return self.names.index(name)
        except ValueError:
            near = difflib.get_close_matches(name, self.names, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else ""
            raise DatasetError(
                f"{where}: label {name!r} is not in the label space ({len(self)} labels){hint}"
            ) from None

    def difference(self, other: "LabelSpace") -> str:
        """One phrase that tells how `other` differs, for error messages; "" if it does not."""
        mine, theirs = set(self.names), set(other.names)
        missing = [n for n in self.names if n not in theirs]
        extra = [n for n in other.names if n not in mine]
        if missing or extra:
            parts = [f"missing: {', '.join(missing)}"] if missing else []
            return "; ".join(parts + ([f"extra: {', '.join(extra)}"] if extra else []))
        return "" if self.names == other.names else "same names in another order"


def multi_hot(rows: Iterable[Sequence[int]], labels: int) -> npt.NDArray[np.bool_]:
    """Turn lists of label columns into a target matrix of shape (rows, `labels`).

    Example:
        >>> multi_hot([[0, 2], []], 3).astype(int).tolist()
        [[1, 0, 1], [0, 0, 0]]
    """
    listed = list(rows)
    out = np.zeros((len(listed), labels), dtype=np.bool_)
    for row, columns in enumerate(listed):
        out[row, list(columns)] = True
    return out
