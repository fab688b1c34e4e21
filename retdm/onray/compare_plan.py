"""Which runs a comparison consists of: one cell for each (column, seed), and what they share.

A cell is an ordinary run. Its folder is named by method, seed and a digest of the settings that
decide its results and of the data, so equal cells of several comparisons are one run, and other
settings make another cell. Settings that its method never looks at are put to their defaults
first: changing them does not train the method again.

Methods that begin with the same classification stage start from one run of it per seed
(`retdm.train.start`), an ordinary run of `bce` that stops there.
"""

import hashlib
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from retdm.config import Config, load_config
from retdm.config.schema import DEFAULT_STAGES
from retdm.errors import ConfigError
from retdm.evaluation import strict_json
from retdm.methods import build_method
from retdm.methods.fitted import FittedMethod
from retdm.train.checkpoint import deciding
from retdm.train.stages import Stage, plan_stages

SHARED = "stage1"
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
class Column:
    """One thing compared: a method under its settings; the seed in `config` means nothing."""

    name: str
    config: Config


@dataclass(frozen=True)
class Cell:
    """One run of a comparison."""

    name: str
    """Folder of the run."""
    columns: tuple[str, ...]
    """Columns that show its result; none for a shared stage."""
    config: Config
    shared: str = ""
    """Cell whose last checkpoint it starts from; "" if it does everything itself."""
    epochs: int = 0
    """Epochs of its own, shared ones not counted."""
    unused: tuple[tuple[str, ...], ...] = ()
    """Paths of the settings and tables that its method never looks at."""
    reading: Mapping[str, str] = field(default_factory=dict)
    """Readings that its method takes where the paper leaves a choice."""

    @property
    def title(self) -> str:
        """As progress lines call it."""
        what = ", ".join(self.columns) or "shared stage"
        return f"{what}, seed {self.config.seed}"


def plan_columns(
    recipe: str, methods: Sequence[str], variants: Sequence[str], overrides: Sequence[str]
) -> list[Column]:
    """The recipe under each method, then under each variant `NAME:key=value,key=value`.

    Raises:
        ConfigError: If a setting is wrong, a variant is not written so, a name comes twice, or
            an override sets what the comparison itself sets.
    """
    for override in overrides:
        _refuse_own(override, "--set")
    settings = [(method, [*overrides, f"method={method}"]) for method in methods]
    for variant in variants:
        name, colon, pairs = variant.partition(":")
        if not colon or not re.fullmatch(r"[\w.+-]+", name) or "=" not in pairs:
            raise ConfigError(
                f"--variant {variant!r}: write it as NAME:key=value,key=value, for example "
                "raw:method=retdm,loss.score=neg_dist"
            )
        # A comma may also stand in a value, say [1, 2]; only one before "key=" separates.
        own = re.split(r",(?=[\w.*-]+\s*=)", pairs)
        for pair in own:
            _refuse_own(pair, f"--variant {name}", but="method")
        settings.append((name, [*overrides, *own]))
    if not settings:
        raise ConfigError("nothing to compare; give --methods a,b,c or --variant NAME:key=value")
    names = [name for name, _ in settings]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)}: named more than once; give each variant its name")
    columns = [Column(name, load_config(recipe, given)) for name, given in settings]
    if any(column.config.start_from for column in columns):
        raise ConfigError("start_from is set; leave it out, the comparison shares stages itself")
    return columns


def _refuse_own(pair: str, source: str, *, but: str = "") -> None:
    options = {"method": "--methods", "seed": "--seeds"}
    key = pair.partition("=")[0].strip()
    if key in options and key != but:
        raise ConfigError(f"{source} {pair}: give {options[key]} instead")


def plan_cells(
    columns: Sequence[Column], seeds: Sequence[int], *, labels: int, data_digest: str
) -> list[Cell]:
    """The runs in the order to start them: seed by seed, a shared stage before those that need it.

    Args:
        columns: What to compare; columns with the same settings share their cells.
        seeds: One run of each column for each.
        labels: Number of labels of the data.
        data_digest: Of the shard set.

    Raises:
        ConfigError: If a method is unknown or its stages train nothing.
    """
    cells: dict[str, Cell] = {}
    for seed in seeds:
        for column in columns:
            given = column.config.model_copy(update={"seed": seed})
            config, first, rest, unused = _essential(given, labels)
            reading = _traits(given, labels).reading
            before = ""
            if first is not None and rest:
                shared, begin, more, without = _essential(_only(given, first), labels)
                if begin == first and not more:
                    before = _name(SHARED, shared, data_digest)
                    plain = _traits(shared, labels).reading
                    stage = Cell(before, (), shared, "", first.epochs, without, plain)
                    cells.setdefault(before, stage)
            name = _name(config.method, config, data_digest)
            together = (*cells[name].columns, column.name) if name in cells else (column.name,)
            epochs = sum(stage.epochs for stage in rest)
            epochs += first.epochs if first is not None and not before else 0
            cells[name] = Cell(name, together, config, before, epochs, unused, reading)
    return list(cells.values())


def _only(config: Config, first: Stage) -> Config:
    """A plain BCE run that stops after the stage."""
    stages = {
        name: stage if name == first.name else stage.model_copy(update={"epochs": 0})
        for name, stage in config.stages.items()
    }
    return config.model_copy(update={"method": "bce", "stages": stages})


def _essential(
    config: Config, labels: int
) -> tuple[Config, Stage | None, list[Stage], tuple[tuple[str, ...], ...]]:
    """The settings with those that the method ignores at their defaults, and its stages.

    Returns:
        Settings; the first stage if other methods can have it in common; the stages after that;
        paths of what is ignored.
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
    plain, first = Config.model_validate(table), traits.stages[0]
    if traits.classification == "bce" and first.losses == _CLASSIFIES:
        return plain, first, list(traits.stages[1:]), tuple(sorted(unused))
    return plain, None, list(traits.stages), tuple(sorted(unused))


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
    """What the plan must know of a method under its settings."""

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


def _name(what: str, config: Config, data_digest: str) -> str:
    return f"{what}-s{config.seed}-{identity(config, data_digest)[:8]}"


def identity(config: Config, data_digest: str) -> str:
    """Digest of what decides the results of a run.

    Settings at their defaults are left out, so a setting that comes to exist later, with a
    default that changes nothing, does not make finished cells strangers.
    """
    settings: dict[str, Any] = deciding(config.model_dump(mode="json", exclude_defaults=True))
    settings.pop("start_from", None)
    settings["data.shuffle_window"] = config.data.shuffle_window
    return hashlib.sha256(strict_json([sorted(settings.items()), data_digest])).hexdigest()
