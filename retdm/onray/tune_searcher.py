"""What Ray Tune asks for the next trial, and tells how each does: the search's study.

Ray's own link to optuna tells a trial that was stopped early as if it were complete, keeps its
knowledge in a pickle, and cannot go on with a trial of a program that was killed.
"""

import contextlib
import logging
import math
import time
from collections.abc import Callable, Iterator
from typing import Any

from ray.tune.search import Searcher

from retdm.errors import RetdmError, StorageError
from retdm.onray.tune_plan import SearchPlan
from retdm.onray.tune_trial import COMPLETE, END, FAILED, LOST, STOPPED, TRIAL, WHY
from retdm.onray.words import Words
from retdm.storage import open_store
from retdm.train.thin import thin
from retdm.tuning.connection import explained
from retdm.tuning.database import Database
from retdm.tuning.outcome import begin_line
from retdm.tuning.study import Trials

log = logging.getLogger(__name__)


class StudySearcher(Searcher):  # type: ignore[misc]
    """Used in one thread, that of Ray Tune's loop."""

    def __init__(
        self,
        trials: Trials,
        plan: SearchPlan,
        database: Database,
        *,
        until: float | None,
        on_end: Callable[[int], None],
    ) -> None:
        """Of a search.

        Args:
            trials: What was tried.
            plan: What trials run.
            database: That `trials` are in.
            until: On the monotonic clock; later only trials begin that an earlier program had
                begun. None: without limit.
            on_end: Called with its number after each trial.
        """
        super().__init__()
        self._trials, self._plan, self._database = trials, plan, database
        self._until, self._on_end = until, on_end
        self._numbers: dict[str, int] = {}
        self._pruned: dict[int, str] = {}
        self._closed = False
        self.lost: Exception | None = None
        """What the search cannot go on for; its trials stay begun."""

    @property
    def runs(self) -> list[str]:
        """URLs of all runs of the trials at work, those that they have yet to begin included."""
        numbers = list(self._numbers.values())
        return [self._plan.url(number, seed) for number in numbers for seed in self._plan.seeds]

    def suggest(self, trial_id: str) -> dict[str, Any] | str:
        """Settings of the next trial, which is told; `FINISHED` if there is none."""
        late = self._until is not None and time.monotonic() > self._until
        if self._closed or Words().get("stop"):
            return str(Searcher.FINISHED)
        with self._guarded():
            begun = self._trials.next(new=not late)
            if begun is not None:
                self._numbers[trial_id] = begun.number
                log.info("%s", begin_line(begun))
                return {TRIAL: begun.number, **begun.params}
        return str(Searcher.FINISHED)

    def on_trial_result(self, trial_id: str, result: dict[str, Any]) -> None:
        """Note an epoch, and stop the trial if it is worse than others."""
        if END in result:
            return
        with self._guarded():
            number, value = self._numbers[trial_id], result[self._plan.tune.metrics[0]]
            why = self._trials.report(number, result["epoch"], value, last=result["last"])
            if why:
                self._pruned[number] = why
                Words().put(f"stop {result['run']}", "pruned")

    def on_trial_complete(
        self, trial_id: str, result: dict[str, Any] | None = None, error: bool = False
    ) -> None:
        """Note how a trial ended; one that the program's end stopped stays begun."""
        number = self._numbers.pop(trial_id)
        end, why = FAILED, "its process was lost again and again"
        if result is not None and END in result and not error:
            end, why = result[END], result[WHY]
        if end == LOST:
            self._close(StorageError(why))
        elif end == STOPPED and number not in self._pruned:
            self._closed = True
        else:
            with self._guarded():
                well = self._end(number, end, why, result or {})
                self._on_end(number)
                if well:
                    self._thin(number)

    def _end(self, number: int, end: str, why: str, result: dict[str, Any]) -> bool:
        """Tell the study; return whether it was pruned or complete."""
        seconds = result.get("seconds")
        if end == STOPPED:
            self._trials.end(number, "pruned", self._pruned[number], seconds=seconds)
            return True
        if end == COMPLETE:
            values = [result[metric] for metric in self._plan.tune.metrics]
            if all(map(math.isfinite, values)):
                self._trials.end(number, "complete", why, values=values, seconds=seconds)
                return True
            why = f"{', '.join(self._plan.tune.metrics)} undefined on the validation split"
        self._trials.end(number, "failed", why, seconds=seconds)
        return False

    def _thin(self, number: int) -> None:
        """Free what a trial could have gone on from; it is over, and the study knows."""
        for seed in self._plan.seeds:
            run = open_store(self._plan.url(number, seed))
            try:
                thin(run, keep_best=self._plan.base.checkpoint.keep_best)
            except RetdmError as error:  # some disk space is no reason to end a search
                log.warning("the checkpoints of trial %d stay: %s", number, error)

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Close the search if its storage or database is lost, or there is a bug.

        Ray Tune would begin the trial again for it.
        """
        try:
            with explained(self._database.where):
                yield
        except Exception as error:
            self._close(error)

    def _close(self, error: Exception) -> None:
        if self.lost is None:
            log.warning("no more trials are begun: %s", error)
            self.lost = error
        self._closed = True

    def save_to_dir(self, checkpoint_dir: str, session_str: str = "default") -> None:
        """Nothing: the study has it all."""

    def restore_from_dir(self, checkpoint_dir: str) -> None:
        """Never called: see `save_to_dir`."""
