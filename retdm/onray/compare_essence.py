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
_OWNERS = {
    "asl": "asl",
    "center": "center",
    "c2ae": "c2ae",
    "warp": "warp",
    "cnn_rnn": "cnn-rnn",
    "lmmo": "lmmo-knn",
    "mlspl": "mlspl",
}
# What a method that is fitted does without.
_STEPS = [("optimizer",), ("loss", "bce_reduction"), ("model", "embedding"), ("model", "dropout")]


@dataclass(frozen=True)
class Essence:
    """A run by what decides it."""

    config: Config
    """The settings, with those that the method ignores at their defaults."""
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
        (name,) for name, owner in _OWNERS.items() if config.method != owner
    ]
    if not traits.uses_bank:
        unused += [("bank",), *(("loss", key) for key in table["loss"] if key != "bce_reduction")]
    if traits.fitted:
        unused += _STEPS
    for path in unused:
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
    uses_bank: bool
    fitted: bool
    reading: Mapping[str, str]


@cache
def _traits_of(settings: str, labels: int) -> _Traits:
    config = Config.model_validate_json(settings)
    method = build_method(config, labels, load_weights=False)
    return _Traits(
        tuple(plan_stages(config, method)),
        method.classification,
        method.uses_bank,
        isinstance(method, FittedMethod),
        method.reading,
    )


def _traits(config: Config, labels: int) -> _Traits:
    """The same for all seeds; its network is built once."""
    return _traits_of(config.model_copy(update={"seed": 0}).model_dump_json(), labels)


def identity(config: Config, data_digest: str) -> str:
    """Digest of what decides the results of a run.

    Settings at their defaults are left out, so a setting that comes to exist later, with a
    default that changes nothing, does not make finished cells strangers.
    """
    settings: dict[str, Any] = deciding(config.model_dump(mode="json", exclude_defaults=True))
    settings.pop("start_from", None)
    settings["data.shuffle_window"] = config.data.shuffle_window
    return hashlib.sha256(strict_json([sorted(settings.items()), data_digest])).hexdigest()
