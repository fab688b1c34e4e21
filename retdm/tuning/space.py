"""The space of a search: what optuna draws from it, and whether runs would take every value."""

import itertools
from collections.abc import Mapping, Sequence
from typing import Any

from optuna.distributions import (
    BaseDistribution,
    CategoricalDistribution,
    FloatDistribution,
    IntDistribution,
)

from retdm.config import Config, Domain, Table, lay_over, parse
from retdm.config.tune import Value
from retdm.errors import ConfigError

Space = Mapping[str, Domain]
_REFUSED = {
    "seed": "give tune.seeds, the number of runs of each trial",
    "start_from": "trials share their first stage by themselves",
    "data.url": "one search is of one shard set",
    "data.val_split": "trials are compared on one validation split",
    "data.test_split": "trials do not see it",
}
_INSIDE = 0.382
"""Where between the ends a value is tried too: no whole number for one that must be whole."""


def distributions(space: Space) -> dict[str, BaseDistribution]:
    """What optuna draws each setting from."""
    return {name: _distribution(domain) for name, domain in space.items()}


def _distribution(domain: Domain) -> BaseDistribution:
    if domain.choice is not None:
        return CategoricalDistribution(domain.choice)
    low, high = domain.ends
    if domain.int_:
        return IntDistribution(int(low), int(high))
    return FloatDistribution(low, high, log=domain.log is not None)


def grid(space: Space, points: int) -> dict[str, list[Value]]:
    """Values of each setting for a search over all combinations.

    Args:
        space: Ranges and choices.
        points: Of each range, both ends included, equally far apart on its scale; fewer where
            there are fewer whole numbers.
    """
    return {name: _points(domain, points) for name, domain in space.items()}


def _points(domain: Domain, points: int) -> list[Value]:
    if domain.choice is not None:
        return list(domain.choice)
    low, high = domain.ends
    shares = [at / (points - 1) for at in range(points)]
    if domain.log:
        inner = [low * (high / low) ** share for share in shares[1:-1]]
    else:
        inner = [low + (high - low) * share for share in shares[1:-1]]
    values = [low, *inner, high]
    return list(dict.fromkeys(round(value) for value in values) if domain.int_ else values)


def is_in(domain: Domain, value: Any) -> bool:
    """Whether the domain has the value."""
    if domain.choice is not None:
        return value in domain.choice
    low, high = domain.ends
    return isinstance(value, int | float) and low <= value <= high


def probes(domain: Domain) -> Sequence[Value]:
    """Values that stand for all: the ends of a range and one inside, every one of a choice."""
    if domain.choice is not None:
        return domain.choice
    low, high = domain.ends
    if domain.int_:
        return low, high
    inside = low * (high / low) ** _INSIDE if domain.log else low + (high - low) * _INSIDE
    return low, inside, high


def check_space(space: Space, table: Table, *, source: str) -> list[Config]:
    """Refuse a space with values that no run would take.

    Args:
        space: One domain at least.
        table: The recipe that the values are laid over.
        source: Opens the error: whence the space is.

    Returns:
        The settings of runs at the values that `probes` tells, one setting changed at a time.

    Raises:
        ConfigError: If there is none, or a setting is unknown or not to be searched, or would
            refuse a value.
    """
    if not space:
        raise ConfigError(
            f'{source}: tune.space is empty; name what to search, as "loss.k" = {{int = [1, 30]}}'
        )
    configs = []
    for name, domain in space.items():
        if name in _REFUSED:
            raise ConfigError(f"{source}: tune.space.{name} cannot be searched: {_REFUSED[name]}")
        for value in probes(domain):
            laid = lay_over(table, {name: value})
            configs.append(parse(Config, laid, source=f"{source}, tune.space"))
    return configs


def combinations(space: Space, points: int) -> list[dict[str, Value]]:
    """All trials of a grid, the last setting changing fastest; `points` as in `grid`."""
    values = grid(space, points)
    return [dict(zip(values, one, strict=True)) for one in itertools.product(*values.values())]


def to_json(space: Space) -> dict[str, Any]:
    """As a recipe writes it."""
    return {
        name: domain.model_dump(mode="json", by_alias=True, exclude_none=True)
        for name, domain in space.items()
    }
