"""What the trials of a search run: a run for each seed, from a first stage they share."""

import difflib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any

import numpy as np

from retdm.config import Config, Table, TuneSettings, lay_over, parse
from retdm.data.manifest import Manifest
from retdm.errors import ConfigError
from retdm.evaluation import evaluate
from retdm.methods import build_method
from retdm.onray.compare_essence import essence
from retdm.onray.compare_plan import Cell, Column, plan_cells
from retdm.onray.workers import Workers
from retdm.storage import join_url, open_store
from retdm.train.checkpoint import deciding, flatten
from retdm.train.history import checkpoint_name
from retdm.train.stages import plan_stages
from retdm.tuning.space import check_space, to_json

SHARED, TRIALS = "shared", "trials"
"""Folders of runs, below the search's."""
_UNTESTED = {"run.test": False}


@dataclass(frozen=True)
class SearchPlan:
    """A search, as its trials' processes are told of it."""

    home: str
    """URL of the search's folder."""
    table: Table
    """Settings of the recipe, which those of a trial are laid over."""
    tune: TuneSettings
    data: str
    """Name of the data set."""
    labels: int
    """How many it has."""
    workers: Workers
    """Of each run."""
    stages: Mapping[int, Cell] = field(default_factory=dict)
    """By seed, the run of the first stage that all trials start from; none if it depends on
    what is searched."""

    @cached_property
    def base(self) -> Config:
        """The recipe's settings."""
        return parse(Config, self.table, source="the recipe")

    @cached_property
    def defaults(self) -> dict[str, Any]:
        """The recipe's own values of what is searched; None where it has none."""
        settings = flatten(self.base.model_dump(mode="json"))
        return {name: settings.get(name) for name in self.tune.space}

    @cached_property
    def seeds(self) -> list[int]:
        """Of the runs of each trial."""
        return list(range(self.base.seed, self.base.seed + self.tune.seeds))

    def name(self, number: int, seed: int) -> str:
        """Folder of a trial's run, below that of all trials."""
        return f"{number:04d}" if len(self.seeds) == 1 else f"{number:04d}-s{seed}"

    def url(self, number: int, seed: int) -> str:
        """Of a trial's run, as its workers know it."""
        return open_store(join_url(self.home, TRIALS, self.name(number, seed))).url

    def folders(self, number: int) -> list[str]:
        """Of a trial's runs, below the search's."""
        return [join_url(TRIALS, self.name(number, seed)) for seed in self.seeds]

    def config(self, params: Mapping[str, Any], seed: int) -> Config:
        """Settings of a trial's run, which leaves the test split alone."""
        return self.final({**params, **_UNTESTED}, seed)

    def final(self, params: Mapping[str, Any], seed: int) -> Config:
        """Settings of the run that is tested, once, at the end."""
        table = lay_over(self.table, {**params, "seed": seed})
        if seed in self.stages:
            shared = join_url(self.home, SHARED, self.stages[seed].name)
            table["start_from"] = join_url(shared, checkpoint_name(open_store(shared), "latest"))
        return parse(Config, table, source="a trial")

    def epochs(self, config: Config) -> list[bool]:
        """For each epoch of a run, from the first stage on, whether it is one of the search's.

        It is if it trains the classifier, without which validation scores stay as they are, and
        trials do not share it.
        """
        method = build_method(config, self.labels, load_weights=False)
        stages = plan_stages(config, method)
        return [
            stage.trains_classifier and not (self.stages and stage is stages[0])
            for stage in stages
            for _ in range(stage.epochs)
        ]


def plan_search(
    table: Table,
    tune: TuneSettings,
    *,
    home: str,
    manifest: Manifest,
    workers: Workers,
    source: str,
) -> SearchPlan:
    """Check what can be checked before anything runs, and see what the trials have in common.

    Raises:
        ConfigError: If a setting of the space is unknown, without effect, or would be refused.
    """
    if table.get("start_from"):
        raise ConfigError(f"{source}: start_from is set; leave it out, trials share their stage")
    _check_metrics(tune.metrics, source)
    probed = check_space(tune.space, lay_over(table, _UNTESTED), source=source)
    labels = len(manifest.labels)
    unseen = {name for name in tune.space if all(_ignores(one, labels, name) for one in probed)}
    if unseen:
        raise ConfigError(
            f"{source}: tune.space: {', '.join(sorted(unseen))} without effect on method "
            f"{probed[0].method}; leave it out"
        )
    plan = SearchPlan(home, table, tune, manifest.name, labels, workers)
    stages: dict[int, Cell] = {}
    for seed in plan.seeds:
        columns = [Column(str(at), one) for at, one in enumerate(probed)]
        cells = plan_cells(columns, [seed], labels=labels, data_digest=manifest.digest)
        shared = {cell.shared for cell in cells if cell.columns}
        if len(shared) == 1 and shared != {""}:
            (stage,) = [cell for cell in cells if cell.name in shared]
            stages[seed] = replace(stage, columns=("first stage of all trials",))
    return replace(plan, stages=stages)


def _check_metrics(metrics: Sequence[str], source: str) -> None:
    known = list(evaluate(np.eye(2), np.eye(2, dtype=bool), threshold=0.5))
    for metric in metrics:
        if metric not in known:
            near = difflib.get_close_matches(metric, known, n=1)
            hint = f"did you mean {near[0]}?" if near else f"there are {', '.join(known)}"
            raise ConfigError(
                f"{source}: tune.metrics names {metric!r}, which validation never reports; {hint}"
            )
    if len(set(metrics)) < len(metrics):
        raise ConfigError(f"{source}: tune.metrics names {metrics[0]} twice; give two metrics")


def _ignores(config: Config, labels: int, name: str) -> bool:
    """Whether the method under these settings never looks at the setting."""
    path = tuple(name.split("."))
    unused: Sequence[tuple[str, ...]] = essence(config, labels).unused
    return any(path[: len(one)] == one for one in unused)


def about(plan: SearchPlan, data_digest: str) -> dict[str, Any]:
    """What makes a search the same as an earlier one; how long it goes on does not, nor how."""
    settings = deciding(plan.base.model_dump(exclude_defaults=True))
    said = {
        "home": plan.home,
        "data": data_digest,
        "tune.space": to_json(plan.tune.space),
        "tune.metrics": plan.tune.metrics,
        "seeds": plan.seeds,
        **{key: value for key, value in settings.items() if key not in plan.tune.space},
    }
    plain: dict[str, Any] = json.loads(json.dumps(said))
    return plain
