"""Reads lines of the JSON-lines files of a run, which anyone may have edited since."""

from retdm.json_input import parse_json


def step_of(line: bytes) -> int | None:
    """The step that a line is about; None if it is no line of such a file."""
    try:
        step = parse_json(line)["step"]
    except (ValueError, TypeError, LookupError):
        return None
    return step if type(step) is int else None
