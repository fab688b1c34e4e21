"""What decides the results of a run: its settings without those that its method never looks at."""

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any

from retdm.config import Config
from retdm.config.schema import DEFAULT_STAGES
from retdm.evaluation import strict_json
from retdm.methods import build_method
from retdm.methods.fitted import FittedMethod
from retdm.train.checkpoint import deciding
from retdm.train.stages import Stage, plan_stages

_CLASSIFIES = frozenset({"classification"})
_COMMON = frozenset({"data", "model", "optimizer", "stages", "checkpoint", "run"})
"""Tables that all methods are trained by; what counts of the others, a method says itself."""
_BATCH = ("data", "batch_size")
_STEPS = (
    ("optimizer",),
    ("model", "embedding"),
    ("model", "dropout"),
    _BATCH,
    ("data", "shuffle_window"),
    ("run", "precision"),
    ("run", "gradients"),
    ("run", "bucket_mib"),
)
"""What a method that is fitted does without."""


@dataclass(frozen=True)
class Essence:
    """A run by what decides it."""

    config: Config
    """The settings, with those that the method ignores at their defaults; but for the size of a
    batch, which has to fit into memory in any case."""
    first: Stage | None
    """The first stage, if other methods can have it in common."""
    rest: tuple[Stage, ...]
    """The other stages; all of them without `first`."""
    unused: tuple[tuple[str, ...], ...]
    """Paths of the settings and tables that are ignored."""
    reading: Mapping[str, str]
    """Readings that the method takes where the paper leaves a choice."""


def essence(config: Config, labels: int) -> Essence:
    """Leave out what the method under these settings never looks at.

    Raises:
        ConfigError: If the method is unknown or its stages train nothing.
    """
    traits = _traits(config, labels)
    table, defaults = config.model_dump(), Config().model_dump()
    unused: list[tuple[str, ...]] = [
        (name, key)
        for name, keys in table.items()
        if isinstance(keys, dict) and name not in _COMMON
        for key in keys
        if not traits.looks_at & {name, f"{name}.{key}"}
    ]
    if traits.fitted:
        unused += _STEPS
    for path in unused:
        if path != _BATCH:
            put(table, path, taken(defaults, path))
    trained = {stage.name for stage in traits.stages}
    for name in table["stages"].keys() - trained:
        unused.append(("stages", name))
        table["stages"][name] = {**DEFAULT_STAGES.get(name, table["stages"][name]), "epochs": 0}
    first = traits.stages[0]
    shareable = traits.classification == "bce" and first.losses == _CLASSIFIES
    return Essence(
        Config.model_validate(table),
        first if shareable else None,
        traits.stages[1:] if shareable else traits.stages,
        tuple(sorted(unused)),
        traits.reading,
    )


def taken(table: Mapping[str, Any], path: Sequence[str]) -> Any:
    """The setting or table at the path; None if there is none."""
    for key in path:
        table = table.get(key, {})
    return table or None if isinstance(table, Mapping) else table


def put(table: dict[str, Any], path: Sequence[str], value: Any) -> None:
    """Set what lies at the path, whose tables exist."""
    for key in path[:-1]:
        table = table[key]
    table[path[-1]] = value


@dataclass(frozen=True)
class _Traits:
    """What is to be known of a method under its settings."""

    stages: tuple[Stage, ...]
    classification: str
    looks_at: frozenset[str]
    fitted: bool
    reading: Mapping[str, str]


@cache
def _traits_of(settings: str, labels: int) -> _Traits:
    config = Config.model_validate_json(settings)
    method = build_method(config, labels, load_weights=False)
    return _Traits(
        tuple(plan_stages(config, method)),
        method.classification,
        method.looks_at,
        isinstance(method, FittedMethod),
        method.reading,
    )


def _traits(config: Config, labels: int) -> _Traits:
    """The same for all seeds; its network is built once."""
    return _traits_of(config.model_copy(update={"seed": 0}).model_dump_json(), labels)


def identity(run: Essence, data_digest: str) -> str:
    """Digest of what decides the results of a run.

    Settings at their defaults are left out, so a setting that comes to exist later, with a
    default that changes nothing, does not make finished cells strangers.
    """
    settings: dict[str, Any] = deciding(run.config.model_dump(mode="json", exclude_defaults=True))
    for path in (*run.unused, ("start_from",)):
        settings.pop(".".join(path), None)
    settings["data.shuffle_window"] = run.config.data.shuffle_window
    return hashlib.sha256(strict_json([sorted(settings.items()), data_digest])).hexdigest()
