"""What the files of a run say of it, finished or not."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from pydantic import BaseModel

from retdm.errors import CheckpointError, ConfigError, NotFoundError
from retdm.json_input import parse_json
from retdm.storage import Store, open_store
from retdm.train.history import INDEX, Epochs
from retdm.train.logbook import LOG
from retdm.train.result import RESULT
from retdm.train.run_file import read_checked

_RECORD = "run.json"
_OTHERS = {"tune.json": "search", "compare.json": "comparison"}
"""Folders that are no run's, by a file that they have."""


@dataclass(frozen=True, eq=False)
class RunFiles:
    """One run."""

    store: Store
    name: str
    """As the page calls it: the shortest end of its URL that no other run of the page has."""
    config: Mapping[str, Any]
    reading: Mapping[str, str]
    labels: Sequence[str]
    data_digest: str
    history: Epochs
    lines: Sequence[Mapping[str, Any]]
    """Of its log, of the kind "step"."""
    damaged: int
    """Lines of its log that could not be read."""
    result: Mapping[str, Any] | None
    """Content of `result.json`; None of a run that is not finished."""

    @property
    def method(self) -> str:
        """Its `method`."""
        return str(self.config["method"])


class _Config(BaseModel):
    method: str


class _Shares(BaseModel):
    data_wait: float
    compute: float
    communication: float
    evaluation: float
    checkpoint: float
    other: float


class _Epoch(BaseModel):
    stage: str
    epoch: int
    step: int
    rank_score: float


class _Time(BaseModel):
    share: _Shares
    images_per_s: float
    images_per_s_per_worker: float
    efficiency_at_most: float | None = None


class _Result(BaseModel):
    method: str
    reading: dict[str, str]
    seed: int
    world_size: int
    config: _Config
    metrics: dict[str, dict[str, float | None]]
    history: list[_Epoch]
    data: str
    data_digest: str
    labels: list[str]
    thresholds: dict[str, float] = {}
    versions: dict[str, str] = {}
    time: _Time | None = None


class _Index(BaseModel):
    history: list[_Epoch]


class _Record(BaseModel):
    config: _Config
    labels: list[str]
    data_digest: str
    reading: dict[str, str] = {}


def read_runs(urls: Sequence[str]) -> list[RunFiles]:
    """The runs at these URLs.

    Raises:
        CheckpointError: If one is no run, or a file of it is damaged.
        ConfigError: If one is there twice.
        StorageError: If it cannot be read.
    """
    stores = [open_store(url) for url in urls]
    for number, store in enumerate(stores):
        if store.url in [other.url for other in stores[:number]]:
            raise ConfigError(f"{store.url} is given twice; give each run once")
    runs = [_read(store) for store in stores]
    names = _names([run.store.url for run in runs])
    return [replace(run, name=name) for run, name in zip(runs, names, strict=True)]


def _read(store: Store) -> RunFiles:
    result = None
    try:
        found = read_checked(store, RESULT, _Result, what="the result of a run")
        result, history = found, found["history"]
    except NotFoundError:
        found, history = _begun(store), _epochs(store)
    lines, damaged = _log(store)
    return RunFiles(
        store=store,
        name="",
        config=found["config"],
        reading=found.get("reading", {}),
        labels=found["labels"],
        data_digest=found["data_digest"],
        history=history,
        lines=lines,
        damaged=damaged,
        result=result,
    )


def _begun(store: Store) -> dict[str, Any]:
    """What was to be done in a run that has no result yet."""
    try:
        return read_checked(store, _RECORD, _Record, what="the record of a run")
    except NotFoundError:
        pass
    for name, kind in _OTHERS.items():
        if store.size(name) is not None:
            page = name.replace(".json", ".html")
            raise CheckpointError(
                f"{store.url}: this is a {kind}, whose page is {page} in it; give the folder of "
                "one of its runs"
            )
    raise CheckpointError(
        f"{store.url}: neither {RESULT} nor {_RECORD} is there, so it is no run; give the folder "
        "that `python jobs/train.py RECIPE --storage ... --run-name ...` wrote"
    )


def _epochs(store: Store) -> Epochs:
    """The finished epochs of a run that is not finished."""
    try:
        found = read_checked(store, INDEX, _Index, what="an index of checkpoints")
    except NotFoundError:
        return []
    epochs: Epochs = found["history"]
    return epochs


def _log(store: Store) -> tuple[list[dict[str, Any]], int]:
    """Lines of training steps, and how many lines of any kind are damaged."""
    if store.size(LOG) is None:
        return [], 0
    lines, damaged = [], 0
    for text in store.read(LOG).splitlines():
        try:
            line = parse_json(text)
            if line["kind"] == "step" and type(line["step"]) is int:
                lines.append(line)
        except (ValueError, TypeError, LookupError):
            damaged += 1
    return lines, damaged


def _names(urls: Sequence[str]) -> list[str]:
    """The shortest end of each URL that tells them apart.

    Example:
        >>> _names(["s3://a/runs/x", "s3://b/runs/x", "s3://b/runs/y"])
        ['a/runs/x', 'b/runs/x', 'y']
    """
    parts = [url.rstrip("/").split("/") for url in urls]

    def end(own: list[str]) -> str:
        lengths = range(1, len(own) + 1)
        alone = (n for n in lengths if sum(other[-n:] == own[-n:] for other in parts) == 1)
        return "/".join(own[-next(alone, len(own)) :])

    return [end(own) for own in parts]
