"""The trials of a search, in an optuna study: what to try next, and what is known of each.

The study is all that a search remembers. Ray Tune keeps a pickle of its own, which knows neither
pruned trials nor what a killed program had begun; here a trial that is still running in the study
when a program starts is begun once more under its number, and its runs go on from their
checkpoints.
"""

import warnings
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

import optuna
from optuna.pruners import BasePruner, NopPruner, SuccessiveHalvingPruner
from optuna.samplers import BaseSampler, RandomSampler, TPESampler
from optuna.trial import FrozenTrial, Trial, TrialState

from retdm.config import TuneSettings
from retdm.tuning.space import combinations, distributions, is_in

End = Literal["complete", "pruned", "failed"]
WHY, SECONDS, POOR = "why", "seconds", "poor"
"""Attributes of a trial."""
_STATES = {
    "complete": TrialState.COMPLETE,
    "pruned": TrialState.PRUNED,
    "failed": TrialState.FAIL,
}
OVER = tuple(_STATES.values())
"""States of trials that have ended."""


@dataclass(frozen=True)
class Begun:
    """A trial to run."""

    number: int
    params: Mapping[str, Any]
    """The searched settings, by dotted key."""


class Trials:
    """What a search has tried and what it tries next; for one program at a time."""

    def __init__(
        self,
        study: optuna.Study,
        settings: TuneSettings,
        *,
        first: Mapping[str, Any],
        seed: int,
        saved: Callable[[], None],
    ) -> None:
        """Go on with a study.

        Args:
            study: Of this search.
            settings: Of the search; its space is good.
            first: The recipe's own values, which are tried before others if the space has them.
            seed: Of what is drawn.
            saved: Called after each change; what was changed outlives this program when it
                returns.
        """
        self.study, self._settings, self._saved = study, settings, saved
        self._space = distributions(settings.space)
        self._begun: dict[int, Trial] = {}
        running = study.get_trials(deepcopy=False, states=(TrialState.RUNNING,))
        self._orphans = deque(running)
        # Another one for each program that goes on, or trials would come again.
        before = len(study.get_trials(deepcopy=False))
        study.sampler = _sampler(settings, seed=1000 * seed + before)
        study.pruner = _pruner(settings)
        if settings.sampler == "grid":
            for params in combinations(settings.space, settings.grid_points)[: settings.limit]:
                study.enqueue_trial(params, skip_if_exists=True)
        elif not before and all(
            is_in(domain, first.get(name)) for name, domain in settings.space.items()
        ):
            study.enqueue_trial({name: first[name] for name in settings.space})

    @property
    def wanted(self) -> int:
        """Trials of the whole search."""
        return wanted(self._settings)

    @property
    def unlimited(self) -> bool:
        """Whether time alone ends the search."""
        return self._settings.unlimited

    @property
    def over(self) -> int:
        """Trials that have ended, however they did."""
        return len(self.study.get_trials(deepcopy=False, states=OVER))

    @property
    def left(self) -> int:
        """Trials that still have to end."""
        return max(len(self._orphans) + len(self._begun), self.wanted - self.over)

    @property
    def orphans(self) -> int:
        """Trials that an earlier program had begun, and that are to be begun again."""
        return len(self._orphans)

    def next(self, *, new: bool = True) -> Begun | None:
        """Begin a trial, which is on record before this returns; None if there are no more.

        Args:
            new: Whether it may be another one than those that an earlier program had begun.
        """
        if self._orphans:
            trial = Trial(self.study, self._orphans.popleft()._trial_id)
            # A program that was killed may have drawn some of them only.
            for name, distribution in self._space.items():
                trial._suggest(name, distribution)
            return self._on_record(trial)
        while new and self.left > len(self._begun):
            trial = self._ask()
            twin = self._twin(trial)
            if twin is None:
                return self._on_record(trial)
            self._begun[trial.number] = trial
            # Runs of equal settings have equal results.
            self.end(trial.number, "complete", f"as trial {twin.number}", values=twin.values)
        return None

    def _on_record(self, trial: Trial) -> Begun:
        self._begun[trial.number] = trial
        self._saved()
        return Begun(trial.number, trial.params)

    def _ask(self) -> Trial:
        with warnings.catch_warnings():
            # That a sampler's option is new.
            warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
            return self.study.ask(self._space)

    def _twin(self, trial: Trial) -> FrozenTrial | None:
        """A complete trial of the same parameters."""
        complete = self.study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
        return next((one for one in complete if one.params == trial.params), None)

    def report(self, number: int, epoch: int, value: float, *, last: bool) -> str:
        """Note what a trial has come to.

        Args:
            number: Of the trial.
            epoch: Counted from 1 over all runs of the trial; told again, it changes nothing.
            value: Of the first metric.
            last: Whether it is the trial's last epoch, behind which there is nothing to stop.

        Returns:
            Why the trial is to be stopped; "" if it is not.
        """
        trial = self._begun[number]
        if POOR in trial.user_attrs:  # noted by a program that ended before the trial did
            return str(trial.user_attrs[POOR])
        known = self.study.get_trials(deepcopy=False)[number].intermediate_values
        if len(self._settings.metrics) > 1 or epoch in known:
            return ""
        trial.report(value, epoch)
        why = ""
        if not last and trial.should_prune():
            share = f"best 1/{self._settings.reduction_factor}"
            metric = self._settings.metrics[0]
            why = (
                f"stopped after epoch {epoch}: {metric} {value:.4f} is not among the {share} there"
            )
            trial.set_user_attr(POOR, why)
        self._saved()
        return why

    def end(
        self,
        number: int,
        how: End,
        why: str,
        *,
        values: Sequence[float] | None = None,
        seconds: float | None = None,
    ) -> None:
        """Note how a trial ended.

        Args:
            number: Of the trial.
            how: With a result, stopped for being worse than others, or neither.
            why: In words.
            values: Of the metrics, if it is complete.
            seconds: That it took.
        """
        trial = self._begun.pop(number)
        trial.set_user_attr(WHY, why)
        if seconds is not None:
            trial.set_user_attr(SECONDS, seconds)
        self.study.tell(trial, values=values, state=_STATES[how])
        self._saved()


def wanted(settings: TuneSettings) -> int:
    """Trials of a whole search."""
    if settings.sampler != "grid":
        return settings.limit
    return min(settings.limit, len(combinations(settings.space, settings.grid_points)))


def _sampler(settings: TuneSettings, *, seed: int) -> BaseSampler:
    """What proposes trials."""
    if settings.sampler != "tpe":  # a grid's trials stand in the study from the beginning
        return RandomSampler(seed=seed)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        return TPESampler(
            n_startup_trials=settings.startup_trials,
            multivariate=True,
            # Trials at work count as bad ones, or all that begin together would be alike.
            constant_liar=True,
            seed=seed,
        )


def _pruner(settings: TuneSettings) -> BasePruner:
    if settings.prune == "none" or len(settings.metrics) > 1:
        return NopPruner()
    return SuccessiveHalvingPruner(
        min_resource=settings.grace_epochs, reduction_factor=settings.reduction_factor
    )
