"""Starts a run as a Ray Train job, on the cluster of this process or on a local one."""

import contextlib
import logging
import os
import threading
import time
from collections.abc import Sequence
from typing import Any

import ray
import ray.exceptions
import ray.train
import ray.train.torch
import torch

from retdm import comm
from retdm.claims import Claim, Work, hold
from retdm.config import Config
from retdm.data.manifest import load_manifest
from retdm.errors import ConfigError
from retdm.methods import build_method
from retdm.onray.asked import for_worker, wants_gpus
from retdm.onray.draining import LeaveOutDraining
from retdm.onray.failures import Watch, explain, speak
from retdm.onray.joining import join
from retdm.onray.placement import Placement
from retdm.onray.run_record import (
    Resume,
    is_finished,
    prepare,
    run_record,
    stored_result,
    with_micro_batches,
)
from retdm.onray.session import RaySession
from retdm.onray.stopping import run_stoppably
from retdm.onray.waiting import Waiting
from retdm.onray.workers import Workers
from retdm.storage import Store, arrow_filesystem, join_url, open_store
from retdm.train.loop import train
from retdm.train.notice import Interrupted, Notice
from retdm.train.profiled_steps import ProfiledSteps
from retdm.train.result import RESULT, conclude
from retdm.train.risk import divergence_risk
from retdm.train.stages import plan_stages

log = logging.getLogger(__name__)
_DRAINS_EVERY_S = "1"
"""Between looks at which machines are taken back; Ray's own 5 are much of a notice of 30."""
_LAST_LINES_S = 0.5
"""Until what Ray's processes have printed is here."""
_TRAINING = Work(
    folder="_run/",
    noun="program",
    verb="train",
    option="",
    elsewhere="choose another --run-name",
    lockless="choose a --storage that has locks, or s3://BUCKET/PREFIX",
)


def run_on_ray(
    config: Config,
    *,
    storage: str,
    name: str,
    workers: Workers,
    resume: Resume,
    claim: Claim | None = None,
    callbacks: Sequence[ray.train.UserCallback] = (),
    profile: ProfiledSteps | None = None,
) -> dict[str, Any]:
    """Train, evaluate and return the content of `STORAGE/NAME/result.json`.

    A run of the same name continues from its latest checkpoint; a finished one is not trained
    again. Everything that can be checked without a worker is checked before one starts.

    Args:
        config: The resolved settings.
        storage: URL of the folder that holds runs.
        name: Of the run's folder.
        workers: How many.
        resume: What to do about an earlier run.
        claim: Right to a folder that this run is in, which the caller holds; None: the run's own
            is taken.
        callbacks: More of Ray Train's, for its controller.
        profile: Steps of which each worker writes a trace.

    Raises:
        RetdmError: For anything the user can mend, also when a worker found it; `ConfigError` if
            another program trains the run.
        Failed: If a worker failed otherwise, more than `run.max_failures` times.
        Stopped: After SIGTERM or Ctrl-C, when the run has written a checkpoint.
    """
    store = open_store(join_url(storage, name))
    manifest = load_manifest(open_store(config.data.url))
    manifest.splits_of(config.data)
    # Names the wrong method, backbone, stage or image size before a worker starts.
    method = build_method(config, len(manifest.labels), load_weights=False)
    plan_stages(config, method)
    config = with_micro_batches(config, store, workers)
    record = run_record(config, manifest, method)
    finished = is_finished(store, record, resume)
    if not finished:
        held = contextlib.nullcontext(claim) if claim else hold(store, _TRAINING)
        with held as claim:
            # It looks again: another program may have gone on with the run before it was ours.
            finished = prepare(store, record, resume)
            if not finished:
                if risk := divergence_risk(config, method):
                    log.warning("warning: %s", risk)
                _fit(config, store, claim, storage, name, workers, callbacks, profile)
    if finished:
        log.info("run %s is finished; its result is at %s/%s", name, store.url, RESULT)
    return stored_result(store)


def _fit(
    config: Config,
    store: Store,
    claim: Claim,
    storage: str,
    name: str,
    workers: Workers,
    callbacks: Sequence[ray.train.UserCallback],
    profile: ProfiledSteps | None,
) -> None:
    ours = join()
    _check_room(config, workers)
    filesystem, path = arrow_filesystem(storage)
    placement = Placement()
    use_gpu = wants_gpus(config, workers, ray.cluster_resources().get("GPU", 0))
    trainer = ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config={
            "config": config.model_dump(mode="json"),
            "run": store.url,
            "claim": claim,
            "profile": profile,
        },
        torch_config=ray.train.torch.TorchConfig(
            # gloo carries the small CPU collectives (metrics, objects) beside NCCL.
            backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo",
            timeout_s=config.run.collective_timeout_s,
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.for_ray,
            elastic_resize_monitor_interval_s=config.run.resize_check_s,
            use_gpu=use_gpu,
            resources_per_worker=for_worker(config, use_gpu=use_gpu),
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=config.run.max_failures),
            callbacks=[
                Watch(config.run.max_failures, placement),
                placement,
                LeaveOutDraining(workers),
                Waiting(placement),
                *callbacks,
            ],
        ),
    )
    os.environ.setdefault("RAY_TRAIN_PREEMPTION_POLL_INTERVAL_S", _DRAINS_EVERY_S)
    # Between epochs workers wait for one another in Ray, which sets no limit of its own.
    os.environ["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] = str(config.run.collective_timeout_s)
    try:
        _fit_stoppably(trainer, store.url)
    except (ray.train.TrainingFailedError, ray.exceptions.RayActorError) as error:
        if ours:
            time.sleep(_LAST_LINES_S)
            ray.shutdown()  # or lines of Ray's processes might come after our last word
        raise explain(error, max_failures=config.run.max_failures, storage=storage) from None


def _fit_stoppably(trainer: ray.train.torch.TorchTrainer, run: str) -> None:
    """Fit; the main thread waits beside, since Ray lets it hear signals only once a second.

    Raises:
        Stopped: After SIGTERM or Ctrl-C, when the run has written a checkpoint.
    """
    if threading.current_thread() is not threading.main_thread():
        trainer.fit()  # one of several runs, whose program heeds signals for all
        return
    run_stoppably(trainer.fit, run, lambda: [run])


def _check_room(config: Config, workers: Workers) -> None:
    """Refuse more workers than this machine's own Ray has room for: it would wait for ever.

    A cluster, which a job finds through RAY_ADDRESS, may grow or become free.

    Raises:
        ConfigError: If there is no room.
    """
    cores = ray.cluster_resources().get("CPU", 0)
    wanted = workers.low * config.run.cpus_per_worker
    if wanted > cores and "RAY_ADDRESS" not in os.environ:
        raise ConfigError(
            f"--workers {workers.low} needs {wanted:g} CPU cores (run.cpus_per_worker is "
            f"{config.run.cpus_per_worker:g}), Ray on this machine has {cores:g}; ask for fewer "
            "workers, or submit to a cluster"
        )
    gpus = ray.cluster_resources().get("GPU", 0)
    if config.run.gpus == "required" and workers.low > gpus and "RAY_ADDRESS" not in os.environ:
        raise ConfigError(
            f"--workers {workers.low} needs {workers.low} GPUs (run.gpus is 'required'), Ray on "
            f"this machine has {gpus:g}; set run.gpus=auto, or submit to a cluster"
        )


def _worker(settings: dict[str, Any]) -> None:
    """What every Ray Train worker runs."""
    # Our lines only. Ray prints every report with all its metrics, by a logger named after its
    # file, which no setting of Ray's reaches.
    logging.getLogger(ray.train.v2._internal.execution.context.__file__).setLevel(logging.WARNING)
    speak()
    _use_tensor_cores()
    if comm.rank() == 0:
        # Or lost workers of a program whose run another took over would come back and take it.
        settings["claim"].check()
    config = Config.model_validate(settings["config"])
    session = RaySession(settings["run"])
    try:
        store, profile = open_store(settings["run"]), settings["profile"]
        conclude(train(config, session, store, profile=profile))
    except Interrupted as interrupted:
        if interrupted.notice is Notice.PREEMPTION:
            raise session.preempted(interrupted.step) from None
        raise


def _use_tensor_cores() -> None:
    """Let convolutions, where the time goes, round their operands to TF32 on GPUs that have it.

    Products of matrices keep all the bits of float32: neighbours are sought and distances taken
    by them, and differences of large numbers are left with nothing of TF32's 10 bits.
    """
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
