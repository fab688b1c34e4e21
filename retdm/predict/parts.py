"""A folder of parts: what it was asked with, which parts are finished, and whether all are.

    _parts/plan                      what was asked, written first, as JSON
    part-00000-of-00123.parquet      a row for each of its images; .jsonl or .csv if asked for
    _parts/00000                     its rows and bad images, written behind it
    _SUCCESS                         rows and bad images of all parts, written last

Readers of data sets pass over names that begin with `_` (pyarrow, pandas, Spark), or that do not
end as they should (Ray Data).
"""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Literal, TypeVar

from pydantic import BaseModel, ConfigDict, ValidationError

from retdm.claims import Work, is_claim
from retdm.errors import ConfigError
from retdm.predict.asked import Format
from retdm.predict.cut import Part
from retdm.storage import Store

_FOLDER = "_parts/"
PLAN, SUCCESS = f"{_FOLDER}plan", "_SUCCESS"
_SUFFIXES: dict[Format, str] = {"json": "jsonl", "csv": "csv", "parquet": "parquet"}
_AT_ONCE = 16
WORK = Work(
    folder=_FOLDER,
    noun="prediction",
    verb="write",
    option="",
    elsewhere="choose another folder",
    lockless="choose a folder on a file system that has locks, or s3://BUCKET/PREFIX",
)


class _Table(BaseModel):
    model_config = ConfigDict(frozen=True, extra="forbid")


class Plan(_Table):
    """What decides the rows, and which file they are in."""

    format: Literal["retdm-parts"] = "retdm-parts"
    version: Literal[1] = 1
    kind: Format
    model: str
    """Digest of the model."""
    checkpoint: str
    images: str
    """Digest of the names of all images in order, or of the shard set."""
    rows: int
    """One for each image."""
    parts: int
    part_size: int
    """As asked; parts are whole batches."""
    batch_size: int
    thresholds: tuple[float, ...]
    """In the order of the model's labels."""
    top: int | None
    torch: str
    """Version of torch, whose releases do not round alike, ..."""
    retdm: str
    """... and of this program."""
    device: Literal["cpu", "cuda"] | None = None
    """On which images are scored; None until a cluster was there to score them."""


class Counts(_Table):
    """What is in one part, or in all of them."""

    rows: int
    bad: int
    """Images without scores among them."""


_Read = TypeVar("_Read", bound=_Table)


def begin(store: Store, plan: Plan) -> Plan:
    """Note what is asked, or see that an earlier program was asked the same.

    Returns:
        The plan, with the earlier program's device if it has none yet.

    Raises:
        ConfigError: If it was asked something else, or the folder holds other files.
        StorageError: If it cannot be read or written.
    """
    if store.size(PLAN) is None:
        others = [name for name in store.names() if not is_claim(name, WORK)]
        if others:
            raise ConfigError(
                f"{store.url}: there are other files already ({others[0]}); give a folder for "
                "these parts alone"
            )
        return _write(store, plan)
    before = _read(store, PLAN, Plan)
    plan = plan.model_copy(update={"device": plan.device or before.device})
    if before.model_copy(update={"device": before.device or plan.device}) != plan:
        raise ConfigError(
            f"{store.url}: its parts were begun with {' and '.join(_differences(before, plan))}; "
            "ask for the same again to go on with them, or give another folder"
        )
    return before if before == plan else _write(store, plan)


def _write(store: Store, plan: Plan) -> Plan:
    store.write(PLAN, plan.model_dump_json(indent=1).encode())
    return plan


_NAMES = {
    "kind": "the format",
    "model": "the model",
    "checkpoint": "--checkpoint",
    "rows": "the number of images",
    "part_size": "--part-size",
    "batch_size": "--batch-size",
    "top": "--top",
    "torch": "torch",
    "retdm": "retdm",
    "device": "the device",
}
_UNSHOWN = {"images": "other images", "thresholds": "other thresholds"}


def _differences(before: Plan, now: Plan) -> list[str]:
    """What a plan has that the present one has not, in words."""
    differing = {
        field for field in Plan.model_fields if getattr(before, field) != getattr(now, field)
    }
    if before.device is None:
        differing -= {"device"}
    said = [
        f"{name} {_shown(getattr(before, field))} (now {_shown(getattr(now, field))})"
        for field, name in _NAMES.items()
        if field in differing
    ]
    said += [text for field, text in _UNSHOWN.items() if field in differing]
    return said or ["another division into parts"]


def _shown(value: object) -> str:
    """Of a digest the first digits, by which people compare."""
    text = "none" if value is None else str(value)
    return f"{text[:12]}..." if len(text) == 64 else text


def file_of(part: Part, plan: Plan) -> str:
    """Name of a part's file."""
    return f"part-{part.number:05}-of-{plan.parts:05}.{_SUFFIXES[plan.kind]}"


def note(store: Store, part: Part, counts: Counts) -> None:
    """Say that a part's file is at its place."""
    store.write(_record_of(part), counts.model_dump_json().encode())


def finished(store: Store, plan: Plan, parts: Iterable[Part]) -> dict[int, Counts]:
    """The parts, by number, that are at their place.

    Raises:
        ConfigError: If a record is damaged.
        StorageError: If the folder cannot be read.
    """
    there = set(store.names("part-")) | set(store.names(_FOLDER))
    recorded = [
        part for part in parts if file_of(part, plan) in there and _record_of(part) in there
    ]
    with ThreadPoolExecutor(_AT_ONCE) as threads:
        counts = threads.map(lambda part: _read(store, _record_of(part), Counts), recorded)
        return {part.number: one for part, one in zip(recorded, counts, strict=True)}


def complete(store: Store, plan: Plan, counts: Iterable[Counts]) -> Counts:
    """Say that all parts are there; returns what is in them.

    Raises:
        ConfigError: If they have not one row for each image.
    """
    each = list(counts)
    total = Counts(rows=sum(one.rows for one in each), bad=sum(one.bad for one in each))
    if total.rows != plan.rows:
        raise ConfigError(
            f"{store.url}: its parts have {total.rows} rows by their records, and there are "
            f"{plan.rows} images; the folder is damaged, so give another one"
        )
    store.write(SUCCESS, total.model_dump_json().encode())
    return total


def _record_of(part: Part) -> str:
    return f"{_FOLDER}{part.number:05}"


def _read(store: Store, name: str, kind: type[_Read]) -> _Read:
    try:
        return kind.model_validate_json(store.read(name))
    except ValidationError:
        raise ConfigError(
            f"{store.url}/{name}: not what this program writes there; delete it if the parts "
            "are of no use any more, or give another folder"
        ) from None
