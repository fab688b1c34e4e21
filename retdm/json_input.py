"""JSON that may come from anyone: read in one way only, or refused.

A key that an object has twice is refused: parsers take the last, the first or both, so two
programs would see different things in one file, and a person who looks at it sees either.
"""

import json
from collections import Counter
from typing import Any

DEEPEST = 100
"""Objects and lists in one another; Python's own functions stop at some hundreds."""


def parse_json(content: bytes | str) -> Any:
    """The value in a JSON text.

    Raises:
        ValueError: If it is not JSON, an object has a key twice, it is nested too deeply, or a
            number has thousands of digits.

    Example:
        >>> parse_json('{"a": 1, "a": 2}')
        Traceback (most recent call last):
        ValueError: an object has the key 'a' twice
    """
    try:
        value = json.loads(content, object_pairs_hook=with_single_keys)
    except RecursionError:
        raise ValueError(f"nested more than {DEEPEST} deep") from None
    level = _parts([value])
    for _ in range(DEEPEST):
        level = [part for whole in level for part in _parts(whole)]
        if not level:
            return value
    raise ValueError(f"nested more than {DEEPEST} deep")


def with_single_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """The object of these keys and values: an `object_pairs_hook` of `json`.

    Raises:
        ValueError: If a key is there twice.
    """
    found = dict(pairs)
    if len(found) != len(pairs):
        twice = Counter(key for key, _ in pairs).most_common(1)[0][0]
        raise ValueError(f"an object has the key {twice[:80]!r} twice")
    return found


def is_text(name: str) -> bool:
    """Whether a name can be written; JSON and tars can smuggle in halves of characters."""
    try:
        name.encode()
    except UnicodeEncodeError:
        return False
    return True


def _parts(value: Any) -> list[Any]:
    """What is in an object or a list, as far as there can be something in it in turn."""
    inside = value.values() if isinstance(value, dict) else value
    return [part for part in inside if isinstance(part, dict | list)]
