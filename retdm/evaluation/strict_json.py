"""Results as JSON that every parser reads."""

import json
import math
from typing import Any


def strict_json(value: Any, *, indent: int | None = 1) -> bytes:
    r"""JSON with a newline at the end; on one line if `indent` is None.

    JSON has no NaN and no infinity: a number that is undefined becomes null.

    Example:
        >>> strict_json({"mAP": float("nan")})
        b'{\n "mAP": null\n}\n'
    """
    return json.dumps(_defined(value), indent=indent, allow_nan=False).encode() + b"\n"


def _defined(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _defined(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_defined(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
