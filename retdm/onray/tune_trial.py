"""One trial of a search, in a process of Ray Tune's: trains its runs and tells what they come to.

The process lives for many trials. It needs no CPU core of the cluster's: those are for the
workers, which Ray Train takes from where there is room.
"""

import json
import logging
import math
import os
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import ray.train
import ray.tune

from retdm.claims import Claim
from retdm.config import Config
from retdm.errors import NotFoundError, StorageError
from retdm.onray.failures import in_one_line, speak
from retdm.onray.launch import run_on_ray
from retdm.onray.tune_plan import TRIALS, SearchPlan
from retdm.onray.words import Words
from retdm.storage import join_url, open_store
from retdm.train.history import finished_epochs

log = logging.getLogger(__name__)
TRIAL = "trial"
"""Key of a trial's number, beside its parameters."""
END, WHY = "end", "why"
COMPLETE, STOPPED, FAILED, LOST = "complete", "stopped", "failed", "lost"
_LOOK_EVERY_S = 0.2


class EpochWords(ray.train.UserCallback):  # type: ignore[misc]
    """In Ray Train's controller: says what each epoch came to, for the trial's process to read.

    Ray has a queue for it, which would be one more process for each trial.
    """

    def __init__(self, run: str) -> None:
        self._run = run
        self._epochs: list[dict[str, Any]] = []

    def after_report(
        self, run_context: Any, metrics: list[dict[str, Any]], checkpoint: Any
    ) -> None:
        """Called after each epoch, with what every rank reports."""
        self._epochs.append(metrics[0])
        Words().put(_word(self._run), json.dumps(self._epochs))


def _word(run: str) -> str:
    return f"epochs {run}"


def run_trial(settings: Mapping[str, Any], plan: SearchPlan, claim: Claim) -> None:
    """Train a run for each seed and report every epoch that counts; then how the trial ended.

    Args:
        settings: The trial's number and its parameters.
        plan: Of the search.
        claim: On the search's folder.
    """
    speak()
    # Until Ray Tune takes this thread for hanging when the next trial comes.
    os.environ["TUNE_FUNCTION_THREAD_TIMEOUT_S"] = "600"
    begun = time.monotonic()
    # HParams of TensorBoard shows the metrics of each trial's last report.
    last = dict.fromkeys(plan.tune.metrics, math.nan)
    params = dict(settings)
    number = params.pop(TRIAL)
    try:
        end = _run_all(plan, claim, number, params, last)
    except Exception as error:
        # A file that is missing is missed by this trial alone.
        lost = isinstance(error, StorageError) and not isinstance(error, NotFoundError)
        end = {END: LOST if lost else FAILED, WHY: in_one_line(error)}
    ray.tune.report({**last, **end, "seconds": time.monotonic() - begun})


def _run_all(
    plan: SearchPlan,
    claim: Claim,
    number: int,
    params: Mapping[str, Any],
    last: dict[str, float],
) -> dict[str, Any]:
    """Train the runs one after another; return how the trial ended, and with what.

    Args:
        plan: Of the search.
        claim: On the search's folder.
        number: Of the trial.
        params: The trial's.
        last: Filled with the metrics that were reported last.
    """
    ended: list[dict[str, float]] = []
    words, runs = Words(), [plan.url(number, seed) for seed in plan.seeds]
    for seed, run in zip(plan.seeds, runs, strict=True):
        if any(words.get(f"stop {one}") for one in runs):
            return {END: STOPPED, WHY: ""}
        config = plan.config(params, seed)
        tell = partial(_tell, plan, run, plan.epochs(config), ended, last)
        try:
            result = _watched(config, plan, plan.name(number, seed), run, claim, tell)
        except Exception:
            if words.get(f"left {run}") is not None:
                return {END: STOPPED, WHY: ""}
            raise
        ended.append(_values(result["metrics"]["val"], plan.tune.metrics))
    return {END: COMPLETE, WHY: "trained to the end", **_mean(ended)}


def _tell(
    plan: SearchPlan,
    run: str,
    counts: Sequence[bool],
    ended: Sequence[Mapping[str, float]],
    last: dict[str, float],
    epoch: Mapping[str, Any],
) -> None:
    """Report an epoch to Ray Tune, if it counts.

    Args:
        plan: Of the search.
        run: URL of the run that trains.
        counts: For each of its epochs, whether it does.
        ended: What the trial's earlier runs came to.
        last: Filled with the metrics that are reported.
        epoch: What its rank 0 reported; `plan_epoch` is -1 for a method that is fitted.
    """
    at = epoch["plan_epoch"] % len(counts)
    if not counts[at]:
        return
    done, each = sum(counts[: at + 1]), sum(counts)
    validation = {key.removeprefix("val/"): value for key, value in epoch.items()}
    values = _values(validation, plan.tune.metrics)
    last.update(_mean([*ended, values]))
    ray.tune.report(
        {
            "epoch": len(ended) * each + done,
            "last": done == each and len(ended) + 1 == len(plan.seeds),
            "run": run,
            **last,
        }
    )


def _watched(
    config: Config,
    plan: SearchPlan,
    name: str,
    run: str,
    claim: Claim,
    tell: Callable[[Mapping[str, Any]], None],
) -> dict[str, Any]:
    """Train a run and tell its epochs as they end; return its result.

    First of all those of an earlier program, which may not have come to tell them.
    """
    words, told = Words(), 0
    for word in (_word(run), f"left {run}"):  # of a process that was lost
        words.take_back(word)
    for epoch in finished_epochs(open_store(run)):
        tell(epoch)
    with ThreadPoolExecutor(1) as pool:
        training = pool.submit(
            run_on_ray,
            config,
            storage=join_url(plan.home, TRIALS),
            name=name,
            workers=plan.workers,
            resume="auto",
            claim=claim,
            callbacks=[EpochWords(run)],
        )
        over = False
        while not over:
            over = training.done()
            for epoch in json.loads(words.get(_word(run)) or "[]")[told:]:
                tell(epoch)
                told += 1
            if not over:
                time.sleep(_LOOK_EVERY_S)
        return training.result()


def _values(validation: Mapping[str, float | None], metrics: Sequence[str]) -> dict[str, float]:
    """The metrics; NaN where one is undefined."""
    found = {metric: validation[metric] for metric in metrics}
    return {metric: math.nan if value is None else value for metric, value in found.items()}


def _mean(runs: Sequence[Mapping[str, float]]) -> dict[str, float]:
    return {key: sum(run[key] for run in runs) / len(runs) for key in runs[0]}
