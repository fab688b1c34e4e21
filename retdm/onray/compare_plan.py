"""Which runs a comparison consists of: one cell for each (column, seed), and what they share.

A cell is an ordinary run. Its folder is named by method, seed and a digest of the settings that
decide its results and of the data, so equal cells of several comparisons are one run, and other
settings make another cell. Settings that its method never looks at are put to their defaults
first: changing them does not train the method again.

Methods that begin with the same classification stage start from one run of it per seed
(`retdm.train.start`), an ordinary run of `bce` that stops there.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from retdm.config import Config, apply_overrides, parse, read_recipe
from retdm.errors import ConfigError
from retdm.onray.compare_essence import Essence, essence, identity
from retdm.train.checkpoint import flatten
from retdm.train.stages import Stage

SHARED = "stage1"


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
    common, _ = read_recipe(recipe, overrides)
    tables = [
        (method, apply_overrides(common, [f"method={method}"], option="--methods"))
        for method in methods
    ]
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
        tables.append((name, apply_overrides(common, own, option=f"--variant {name}")))
    if not tables:
        raise ConfigError("nothing to compare; give --methods a,b,c or --variant NAME:key=value")
    names = [name for name, _ in tables]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise ConfigError(f"{', '.join(twice)}: named more than once; give each variant its name")
    columns = [Column(name, parse(Config, table, source=recipe)) for name, table in tables]
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
            run = essence(given, labels)
            first, epochs, before = run.first, sum(stage.epochs for stage in run.rest), ""
            if first is not None and run.rest:
                shared = essence(_only(given, first), labels)
                if shared.first == first and not shared.rest:
                    before = _name(SHARED, shared, data_digest)
                    stage = Cell(
                        before, (), shared.config, "", first.epochs, shared.unused, shared.reading
                    )
                    cells.setdefault(before, stage)
            if first is not None and not before:
                epochs += first.epochs
            name = _name(run.config.method, run, data_digest)
            together = (*cells[name].columns, column.name) if name in cells else (column.name,)
            cells[name] = Cell(name, together, run.config, before, epochs, run.unused, run.reading)
    return list(cells.values())


def without_effect(columns: Sequence[Column], cells: Sequence[Cell]) -> list[str]:
    """A line for each column that shows the runs of another one, and why it does."""
    settings = {column.name: flatten(column.config.model_dump(mode="json")) for column in columns}
    methods = {column.name: column.config.method for column in columns}
    lines = []
    for first, *others in dict.fromkeys(cell.columns for cell in cells if cell.columns):
        for name in others:
            one, two = settings[first], settings[name]
            keys = sorted(one.keys() | two.keys())
            differing = [key for key in keys if one.get(key) != two.get(key)]
            why = "has the same settings"
            if differing:
                why = f"{', '.join(differing)} without effect on method {methods[name]}"
            lines.append(f"column {name} shows the runs of {first}: {why}")
    return lines


def _only(config: Config, first: Stage) -> Config:
    """A plain BCE run that stops after the stage."""
    stages = {
        name: stage if name == first.name else stage.model_copy(update={"epochs": 0})
        for name, stage in config.stages.items()
    }
    return config.model_copy(update={"method": "bce", "stages": stages})


def _name(what: str, run: Essence, data_digest: str) -> str:
    return f"{what}-s{run.config.seed}-{identity(run, data_digest)[:8]}"
