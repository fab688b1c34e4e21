"""Runs the trials of a search by Ray Tune, several at a time, until the study has enough."""

import logging
import os
from collections.abc import Callable, Mapping
from typing import Any

import optuna
import ray
import ray.tune

from retdm.claims import Claim
from retdm.console import Stopped, counted
from retdm.errors import RetdmError
from retdm.onray.compare_run import Outcome, concurrency_for, run_cells
from retdm.onray.failures import unstored
from retdm.onray.joining import join
from retdm.onray.launch import run_on_ray
from retdm.onray.stopping import run_stoppably
from retdm.onray.tune_plan import SHARED, SearchPlan
from retdm.onray.tune_searcher import StudySearcher
from retdm.onray.tune_trial import TRIAL, run_trial
from retdm.storage import arrow_filesystem, join_url
from retdm.tuning.database import Database
from retdm.tuning.outcome import SHARED_SECONDS
from retdm.tuning.study import Trials

log = logging.getLogger(__name__)
FOLDER = "tune"
"""Of the search's, for what Ray Tune writes: TensorBoard's files and tables of each trial."""
_PLACE = {"node:__internal_head__": 0.001}
"""What a trial's process asks for: a place on Ray's head, and no core of it. With two workers on
a machine of two cores, a hundredth for the trial would be too much."""
_PROCESS_LOST = 2
"""How often a trial's process is begun again before the trial counts as failed."""


def run_stages(plan: SearchPlan, study: optuna.Study, concurrency: int | None) -> None:
    """Train what all trials start from, or see that it is trained; note how long it took.

    Raises:
        RetdmError: If it failed.
        Stopped: After SIGTERM or Ctrl-C, when the runs at work have written checkpoints.
    """
    seconds: float = study.user_attrs.get(SHARED_SECONDS, 0.0)

    def on_outcome(outcome: Outcome) -> None:
        nonlocal seconds
        if outcome.how == "failed":
            raise RetdmError(f"the first stage, which all trials share: {outcome.error}")
        seconds += outcome.seconds
        study.set_user_attr(SHARED_SECONDS, seconds)

    run_cells(
        list(plan.stages.values()),
        storage=join_url(plan.home, SHARED),
        workers=plan.workers,
        concurrency=concurrency,
        on_outcome=on_outcome,
    )


def run_best(
    plan: SearchPlan, number: int, params: Mapping[str, Any], claim: Claim
) -> dict[str, Any]:
    """Train the best trial once more and test it; return its result, with its folder's name.

    Raises:
        RetdmError, Failed, Stopped: As `run_on_ray` does.
    """
    name = f"best-{number:04d}"
    return run_on_ray(
        plan.final(params, plan.seeds[0]),
        storage=plan.home,
        name=name,
        workers=plan.workers,
        resume="auto",
        claim=claim,
    )


def run_search(
    plan: SearchPlan,
    trials: Trials,
    database: Database,
    claim: Claim,
    *,
    concurrency: int | None,
    until: float | None,
    on_end: Callable[[int], None],
) -> None:
    """Try until there are enough trials, or time is up.

    Args:
        plan: What trials run.
        trials: What was tried.
        database: That `trials` are in.
        claim: On the search's folder.
        concurrency: Trials at a time; None: as many as the cluster has room for.
        until: On the monotonic clock; later only trials begin that an earlier program had begun.
            None: without limit.
        on_end: Called with its number after each trial.

    Raises:
        Stopped: After SIGTERM or Ctrl-C, when the runs at work have written checkpoints.
        RetdmError: If the storage or the database is lost.
    """
    join()
    at_once = min(trials.left, concurrency or concurrency_for(plan.base, plan.workers))
    count = "trials" if trials.unlimited else counted(trials.left, "trial")
    log.info("%s to run, %d at a time", count, at_once)
    searcher = StudySearcher(trials, plan, database, until=until, on_end=on_end)

    def search() -> None:
        _tuner(plan, claim, searcher, trials.left, at_once).fit()

    try:
        sent = run_stoppably(search, plan.home, lambda: searcher.runs)
        if sent is not None:
            raise Stopped("stopped between two trials; the same command goes on", sent)
    except Stopped:
        raise
    except BaseException as error:
        # Ends the runs: their actors live no longer than this job. Their checkpoints stay.
        ray.shutdown()
        if isinstance(error, OSError):  # Ray Tune could not store its own files
            raise (searcher.lost or unstored(error, plan.home)) from error
        raise
    if searcher.lost is not None:
        raise searcher.lost


def _tuner(
    plan: SearchPlan, claim: Claim, searcher: StudySearcher, count: int, at_once: int
) -> ray.tune.Tuner:
    # What Ray Tune says of itself: trials are told as they end, and what it raises at its end.
    os.environ.setdefault("RAY_AIR_NEW_OUTPUT", "0")
    for name in ("ray.tune", "ray.train._internal"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    filesystem, path = arrow_filesystem(plan.home)
    trainable = ray.tune.with_parameters(run_trial, plan=plan, claim=claim)
    return ray.tune.Tuner(
        ray.tune.with_resources(trainable, _PLACE),
        tune_config=ray.tune.TuneConfig(
            search_alg=searcher,
            num_samples=count,
            max_concurrent_trials=at_once,
            reuse_actors=True,
            trial_name_creator=_name,
            trial_dirname_creator=_name,
        ),
        run_config=ray.tune.RunConfig(
            name=FOLDER,
            storage_path=path,
            storage_filesystem=filesystem,
            verbose=0,
            failure_config=ray.tune.FailureConfig(max_failures=_PROCESS_LOST),
        ),
    )


def _name(trial: ray.tune.experiment.Trial) -> str:
    return f"{trial.config[TRIAL]:04d}"
