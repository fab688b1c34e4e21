"""The only stage of a method without steps: features once, one fit, then as after any epoch."""

import logging
import math
import time
from dataclasses import replace
from typing import Any

import torch

from retdm import comm
from retdm.errors import DivergenceError
from retdm.methods.fitted import FittedMethod
from retdm.storage import open_store
from retdm.train.epoch_end import end_epoch
from retdm.train.features import split_features
from retdm.train.run import Run
from retdm.train.stages import Stage
from retdm.train.tally import EpochSummary

log = logging.getLogger(__name__)


def fit_stage(run: Run, stage: Stage) -> None:
    """Fit the method unless the run's checkpoint holds the fit; every rank calls this.

    Rank 0 fits, while the others wait within `run.collective_timeout_s`, and sends the result.

    Raises:
        DivergenceError: If the fit ends in numbers that are not finite.
        RetdmError: As reading shards and writing features and checkpoints do.
    """
    if run.progress.epoch >= stage.epochs:
        return
    method, started = run.method, time.perf_counter()
    assert isinstance(method, FittedMethod)
    if comm.rank() == 0:
        log.info(
            "method %s is fitted to one pass over the images: stages.*, optimizer.*, loss.* and "
            "data.augment are not used",
            run.config.method,
        )
    runs = open_store(run.store.url.rpartition("/")[0])
    features = split_features(
        method, run.train_data, run.config, runs, run.session.device, bad=run.bad
    )
    featured = time.perf_counter()
    fitted: Any = None
    if features is not None:
        targets = torch.from_numpy(run.train_data.table.targets[features.rows])
        values = method.fit(torch.from_numpy(features.values), targets)
        state = method.parts["classifier"].state_dict()
        fitted = values, {name: value.cpu() for name, value in state.items()}
    values, state = comm.broadcast_object(fitted)
    method.parts["classifier"].load_state_dict(state)
    wrong = [name for name, value in values.items() if not math.isfinite(value)]
    if wrong:
        raise DivergenceError(
            f"method {run.config.method}: {wrong[0]} of the fit is {values[wrong[0]]}; the "
            "features or settings are out of range, try a larger ridge"
        )
    ended = time.perf_counter()
    times = {"features_s": featured - started, "fit_s": ended - featured}
    summary = EpochSummary(
        means={**values, **times}, images=len(run.train_data), seconds=ended - started
    )
    run.progress = replace(run.progress, epoch=stage.epochs, step=run.progress.step + 1)
    end_epoch(run, stage, None, summary)
