"""How long S3 may take, from the environment, since stores are opened by URL everywhere."""

import math
import os

from retdm.errors import StorageError

STALL, PATIENCE = "RETDM_S3_STALL_S", "RETDM_S3_PATIENCE_S"


def stall_s() -> float:
    """Seconds after which a connection on which nothing arrives is broken.

    Raises:
        StorageError: If RETDM_S3_STALL_S is no number above 0.
    """
    return _seconds(STALL, 20, zero=False)


def patience_s() -> float:
    """Seconds for which a call that fails is repeated; 0 means that none is.

    Raises:
        StorageError: If RETDM_S3_PATIENCE_S is no number of 0 or more.
    """
    return _seconds(PATIENCE, 120, zero=True)


def _seconds(variable: str, default: float, *, zero: bool) -> float:
    text = os.environ.get(variable)
    if text is None:
        return default
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if 0 < value < math.inf or (zero and value == 0):
        return value
    wanted = "of 0 or more" if zero else "above 0"
    raise StorageError(
        f"{variable} is {text!r}; set it to a number of seconds {wanted}, or unset it"
    )
