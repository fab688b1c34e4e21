"""Scores and targets in a NumPy .npz archive, from any model."""

import io
import zipfile

from retdm.evaluation.inputs import Scores, ScoresError, Targets, checked
from retdm.evaluation.npz import read_npz

_REMEDY = "save it with numpy.savez(FILE, scores=scores, targets=targets)"


def parse_scores(content: bytes, *, name: str) -> tuple[Scores, Targets]:
    """Read the arrays `scores` and `targets`; others in the archive are ignored.

    Nothing in the file is executed: pickled (object) arrays are refused.

    Args:
        content: The whole .npz file.
        name: Its path or URL, for the messages.

    Raises:
        ScoresError: If it is damaged or not an .npz archive, lacks an array, or its arrays
            cannot be evaluated (see `checked`).
    """
    if not zipfile.is_zipfile(io.BytesIO(content)):
        raise ScoresError(f"{name}: not an .npz archive, or cut short; {_REMEDY}")
    try:
        arrays, names = read_npz(io.BytesIO(content), only=("scores", "targets"))
    except ValueError as error:
        raise ScoresError(
            f"{name}: its arrays cannot be read as plain numbers: {error}; {_REMEDY}"
        ) from error
    found = ", ".join(names) or "none"
    for wanted in ("scores", "targets"):
        if wanted not in arrays:
            raise ScoresError(f"{name}: no array {wanted!r} (arrays: {found}); {_REMEDY}")
    return checked(arrays["scores"], arrays["targets"], where=name)
