"""Starts a run as a Ray Train job, on the cluster of this process or on a local one."""

import json
import logging
import os
import time
from typing import Any

import ray
import ray.train
import ray.train.torch
import torch

from retdm.claims import Work, hold
from retdm.config import Config
from retdm.data.manifest import load_manifest
from retdm.errors import ConfigError
from retdm.methods import build_method
from retdm.onray.failures import Watch, explain, speak
from retdm.onray.placement import Placement
from retdm.onray.run_record import Resume, is_finished, prepare, run_record
from retdm.onray.session import RaySession
from retdm.onray.waiting import Waiting
from retdm.onray.workers import Workers
from retdm.storage import Store, arrow_filesystem, join_url, open_store
from retdm.train.loop import train
from retdm.train.result import RESULT, conclude
from retdm.train.stages import plan_stages

log = logging.getLogger(__name__)
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
    config: Config, *, storage: str, name: str, workers: Workers, resume: Resume
) -> dict[str, Any]:
    """Train, evaluate and return the content of `STORAGE/NAME/result.json`.

    A run of the same name continues from its latest checkpoint; a finished one is not trained
    again. Everything that can be checked without a worker is checked before one starts.

    Raises:
        RetdmError: For anything the user can mend, also when a worker found it; `ConfigError` if
            another program trains the run.
        Failed: If a worker failed otherwise, more than `run.max_failures` times.
    """
    store = open_store(join_url(storage, name))
    manifest = load_manifest(open_store(config.data.url))
    manifest.splits_of(config.data)
    # Names the wrong method, backbone, stage or image size before a worker starts.
    method = build_method(config, len(manifest.labels), load_weights=False)
    plan_stages(config, method)
    record = run_record(config, manifest, method)
    finished = is_finished(store, record, resume)
    if not finished:
        with hold(store, _TRAINING):
            # It looks again: another program may have gone on with the run before it was ours.
            finished = prepare(store, record, resume)
            if not finished:
                _fit(config, store, storage, name, workers)
    if finished:
        log.info("run %s is finished; its result is at %s/%s", name, store.url, RESULT)
    return result_of(store)


def _fit(config: Config, store: Store, storage: str, name: str, workers: Workers) -> None:
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=True)
    _check_room(config, workers)
    filesystem, path = arrow_filesystem(storage)
    placement = Placement()
    use_gpu = config.run.gpus == "auto" and ray.cluster_resources().get("GPU", 0) >= workers.low
    trainer = ray.train.torch.TorchTrainer(
        _worker,
        train_loop_config={"config": config.model_dump(mode="json"), "run": store.url},
        torch_config=ray.train.torch.TorchConfig(
            # gloo carries the small CPU collectives (metrics, objects) beside NCCL.
            backend="cpu:gloo,cuda:nccl" if use_gpu else "gloo",
            timeout_s=config.run.collective_timeout_s,
        ),
        scaling_config=ray.train.ScalingConfig(
            num_workers=workers.for_ray,
            use_gpu=use_gpu,
            resources_per_worker={
                "CPU": config.run.cpus_per_worker,
                **({"GPU": 1} if use_gpu else {}),
            },
        ),
        run_config=ray.train.RunConfig(
            name=name,
            storage_path=path,
            storage_filesystem=filesystem,
            failure_config=ray.train.FailureConfig(max_failures=config.run.max_failures),
            callbacks=[
                Watch(config.run.max_failures, placement),
                placement,
                Waiting(placement),
            ],
        ),
    )
    # Between epochs workers wait for one another in Ray, which sets no limit of its own.
    os.environ["RAY_TRAIN_COLLECTIVE_TIMEOUT_S"] = str(config.run.collective_timeout_s)
    try:
        trainer.fit()
    except (ray.train.TrainingFailedError, ray.exceptions.RayActorError) as error:
        if ours:
            time.sleep(_LAST_LINES_S)
            ray.shutdown()  # or lines of Ray's processes might come after our last word
        raise explain(error, max_failures=config.run.max_failures, storage=storage) from None


def _check_room(config: Config, workers: Workers) -> None:
    """Refuse more workers than this machine's own Ray has cores for: it would wait for ever.

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


def result_of(store: Store) -> dict[str, Any]:
    """The run's `result.json`."""
    result: dict[str, Any] = json.loads(store.read(RESULT))
    return result


def _worker(settings: dict[str, Any]) -> None:
    """What every Ray Train worker runs."""
    # Our lines only. Ray prints every report with all its metrics, by a logger named after its
    # file, which no setting of Ray's reaches.
    logging.getLogger(ray.train.v2._internal.execution.context.__file__).setLevel(logging.WARNING)
    speak()
    _use_tensor_cores()
    config = Config.model_validate(settings["config"])
    conclude(train(config, RaySession(), open_store(settings["run"])))


def _use_tensor_cores() -> None:
    """Let convolutions, where the time goes, round their operands to TF32 on GPUs that have it.

    Products of matrices keep all the bits of float32: neighbours are sought and distances taken
    by them, and differences of large numbers are left with nothing of TF32's 10 bits.
    """
    torch.backends.cudnn.allow_tf32 = True
    torch.backends.cuda.matmul.allow_tf32 = False
