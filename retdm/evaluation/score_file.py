"""Scores and targets in a NumPy .npz archive, from any model."""

import io
import zipfile
import zlib

import numpy as np

from retdm.evaluation.inputs import Scores, ScoresError, Targets, checked

_REMEDY = "save it with numpy.savez(FILE, scores=scores, targets=targets)"

# What a damaged .npz archive raises depends on which of its bytes are wrong; MemoryError comes
# from a header that claims more cells than there can be.
NPZ_DAMAGE = (
    ValueError,
    OSError,
    EOFError,
    KeyError,
    RuntimeError,
    SyntaxError,
    TypeError,
    MemoryError,
    zipfile.BadZipFile,
    zlib.error,
)


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
        with np.load(io.BytesIO(content), allow_pickle=False) as archive:
            arrays = {n: archive[n] for n in ("scores", "targets") if n in archive.files}
            found = ", ".join(archive.files) or "none"
    except NPZ_DAMAGE as error:
        raise ScoresError(
            f"{name}: its arrays cannot be read as plain numbers: {error}; {_REMEDY}"
        ) from error
    for wanted in ("scores", "targets"):
        if wanted not in arrays:
            raise ScoresError(f"{name}: no array {wanted!r} (arrays: {found}); {_REMEDY}")
    return checked(arrays["scores"], arrays["targets"], where=name)
