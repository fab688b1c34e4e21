"""What the runs of a comparison do not have in common, though they stand side by side."""

from collections.abc import Mapping, Sequence
from typing import Any

Result = Mapping[str, Any]
"""The content of a result.json."""

NOT_RECORDED = "not recorded"


def recorded_versions(results: Sequence[Result]) -> dict[str, list[str]]:
    """All versions of each thing that any of the runs recorded."""
    out: dict[str, set[str]] = {}
    for result in results:
        for name, version in _of(result).items():
            out.setdefault(name, set()).add(version)
    return {name: sorted(found) for name, found in out.items()}


def differing_versions(
    columns: Mapping[str, Sequence[Result]],
) -> dict[str, dict[str, list[str]]]:
    """The versions of each column's runs, of those things that are not alike in all columns.

    A run that recorded nothing of a thing, as those of earlier versions, has "not recorded" of
    it: what it ran under is unknown, so it is not alike.

    Example:
        >>> old, new = {"versions": {"torch": "2"}}, {"versions": {"torch": "2", "timm": "1"}}
        >>> differing_versions({"bce": [old], "asl": [new], "warp": []})
        {'bce': {'timm': ['not recorded']}, 'asl': {'timm': ['1']}, 'warp': {}}
    """
    results = [result for own in columns.values() for result in own]
    names = [
        name
        for name in recorded_versions(results)
        if len({_of(result).get(name, NOT_RECORDED) for result in results}) > 1
    ]
    return {
        column: {
            name: sorted({_of(result).get(name, NOT_RECORDED) for result in own})
            for name in names
            if own
        }
        for column, own in columns.items()
    }


def cautions(name: str, results: Sequence[Result]) -> list[str]:
    """What a column's runs do not have in common, though they are one mean."""
    out = []
    for what in sorted({key for result in results for key in result["reading"]}):
        found = sorted({str(result["reading"].get(what, "not stated")) for result in results})
        if len(found) > 1:
            out.append(f"{name}: its runs took several readings of {what} ({' / '.join(found)})")
    workers = sorted({result["world_size"] for result in results if "world_size" in result})
    if len(workers) > 1:
        out.append(f"{name}: its runs had {' or '.join(map(str, workers))} workers")
    return out


def _of(result: Result) -> dict[str, str]:
    return {name: str(version) for name, version in result.get("versions", {}).items()}
