"""Settings of a search (`[tune]` in a recipe): over what, how, and for how long."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from retdm.config.base import Settings
from retdm.config.schema import Config

Value = bool | int | float | str
Range = tuple[float, float]
_NO_LIMIT = 10**6
_KINDS = frozenset({"log", "float", "int", "choice"})


class Domain(Settings):
    """Values that a searched setting may take; written as a table with one key."""

    log: Range | None = Field(
        default=None, description="From low to high on a logarithmic scale, as [1e-4, 1]"
    )
    float_: Range | None = Field(
        default=None, alias="float", description="From low to high, as [0, 0.5]"
    )
    int_: tuple[int, int] | None = Field(
        default=None, alias="int", description="Whole numbers from low to high, as [1, 30]"
    )
    choice: tuple[Value, ...] | None = Field(
        default=None, description='One of a list, as ["neg_dist", "inv"]'
    )

    @model_validator(mode="before")
    @classmethod
    def _known(cls, table: Any) -> Any:
        if isinstance(table, Domain):
            return table
        if not isinstance(table, Mapping) or len(table) != 1 or not _KINDS.issuperset(table):
            raise PydanticCustomError(
                "one_kind",
                "give just one of log = [low, high], float = [low, high], int = [low, high] or "
                "choice = [...]",
            )
        return table

    @model_validator(mode="after")
    def _not_empty(self) -> "Domain":
        if self.choice is not None:
            if len(set(self.choice)) < max(2, len(self.choice)):
                raise PydanticCustomError("choices", "choice needs two different values or more")
            return self
        low, high = self.ends
        if not low < high:
            raise PydanticCustomError(
                "inverted",
                "{kind} = [{low}, {high}] is no range; give the lower end, then a higher one",
                {"kind": self.kind, "low": low, "high": high},
            )
        if self.log and low <= 0:
            raise PydanticCustomError(
                "log_of_zero", "log needs a lower end above 0, found {low}", {"low": low}
            )
        return self

    @property
    def kind(self) -> str:
        """The key of its table."""
        (kind,) = self.model_dump(by_alias=True, exclude_none=True)
        return kind

    @property
    def ends(self) -> tuple[float, float] | tuple[int, int]:
        """Lowest and highest value of a range."""
        ends = self.log or self.float_ or self.int_
        if ends is None:
            raise TypeError("a choice has no ends")
        return ends


class TuneSettings(Settings):
    """A search (`tune.*`)."""

    space: dict[str, Domain] = Field(
        default={}, description='Searched settings, as "loss.k" = {int = [1, 30]}'
    )
    sampler: Literal["tpe", "random", "grid"] = Field(
        default="tpe",
        description="tpe: tree-structured Parzen estimator, multivariate; grid: all combinations",
    )
    startup_trials: int = Field(default=10, ge=1, description="Random ones before tpe learns")
    grid_points: int = Field(default=5, ge=2, description="Of each range, with sampler grid")
    metrics: tuple[str, ...] = Field(
        default=("mAP",),
        min_length=1,
        max_length=2,
        description="Of the validation split, which trials are to be good at; with two, all that "
        "no other beats in both are kept",
    )
    trials: int | None = Field(
        default=None,
        ge=1,
        description="In all, with earlier ones of the search; unset: 30, or no limit with hours",
    )
    hours: float = Field(
        default=0.0,
        ge=0,
        description="No trial begins after so many, in all programs of the search together (of "
        "one that was killed, up to the last epoch of a trial); 0: no limit",
    )
    seeds: int = Field(
        default=1,
        ge=1,
        description="Runs of each trial, with seeds from `seed` on; their mean counts",
    )
    prune: Literal["asha", "none"] = Field(
        default="asha",
        description="asha: stop a trial early if after grace_epochs, and again after "
        "reduction_factor times as many, it is not among the best of those that came so far",
    )
    grace_epochs: int = Field(
        default=1, ge=1, description="Epochs before a trial may be stopped, of stages that train "
        "the classifier and that trials do not share",
    )  # fmt: skip
    reduction_factor: int = Field(
        default=3, ge=2, description="The best of so many go on at each of those points"
    )

    @property
    def unlimited(self) -> bool:
        """Whether time alone ends the search."""
        return self.trials is None and self.hours > 0 and self.sampler != "grid"

    @property
    def limit(self) -> int:
        """Trials in all."""
        return self.trials or (_NO_LIMIT if self.hours else 30)

    @field_validator("metrics", mode="before")
    @classmethod
    def _listed(cls, metrics: Any) -> Any:
        """Let `--set tune.metrics=OF1` and `=mAP,hamming_loss` do without brackets."""
        return metrics.split(",") if isinstance(metrics, str) else metrics

    @field_validator("space", mode="before")
    @classmethod
    def _dotted(cls, space: Any) -> Any:
        """Let `loss.k = {int = [1, 9]}` name the setting loss.k, as `"loss.k"` does."""
        return dict(_leaves(space, "")) if isinstance(space, Mapping) else space


def _leaves(table: Mapping[str, Any], opening: str) -> Iterator[tuple[str, Any]]:
    for key, value in table.items():
        name = f"{opening}{key}"
        if isinstance(value, Mapping) and _is_table(name.split(".")):
            yield from _leaves(value, f"{name}.")
        else:
            yield name, value


def _is_table(path: Sequence[str]) -> bool:
    """Whether it names a table of a run's settings, whose entries may be searched."""
    kind: Any = Config
    for part in path:
        if get_origin(kind) is dict:  # of stages
            kind = get_args(kind)[1]
        elif _is_settings(kind) and part in kind.model_fields:
            kind = kind.model_fields[part].annotation
        else:
            return False
    return get_origin(kind) is dict or _is_settings(kind)


def _is_settings(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, BaseModel)
