"""Starts a run as a Ray Train job, on the cluster of this process or on a local one."""

import json
import logging
import os
import time
from collections.abc import Mapping
from typing import Any, Literal

import ray
import ray.train
import ray.train.torch
import torch

from retdm.config import Config
from retdm.data.manifest import load_manifest
from retdm.errors import CheckpointError, ConfigError
from retdm.labels import LabelSpace
from retdm.methods import build_method
from retdm.onray.failures import Watch, explain, speak
from retdm.onray.session import RaySession
from retdm.onray.workers import Workers
from retdm.storage import Store, arrow_filesystem, join_url, open_store
from retdm.train.checkpoint import check_labels, check_reading, check_settings
from retdm.train.history import reached
from retdm.train.loop import train
from retdm.train.result import RESULT, conclude
from retdm.train.stages import plan_stages

log = logging.getLogger(__name__)
RUN = "run.json"
_LAST_LINES_S = 0.5
"""Until what Ray's processes have printed is here."""
Resume = Literal["auto", "never", "must"]


def run_on_ray(
    config: Config, *, storage: str, name: str, workers: Workers, resume: Resume
) -> dict[str, Any]:
    """Train, evaluate and return the content of `STORAGE/NAME/result.json`.

    A run of the same name continues from its latest checkpoint; a finished one is not trained
    again. Everything that can be checked without a worker is checked before one starts.

    Raises:
        RetdmError: For anything the user can mend, also when a worker found it.
        Failed: If a worker failed otherwise, more than `run.max_failures` times.
    """
    store = open_store(join_url(storage, name))
    manifest = load_manifest(open_store(config.data.url))
    manifest.splits_of(config.data)
    # Names the wrong method, backbone, stage or image size before a worker starts.
    method = build_method(config, len(manifest.labels), load_weights=False)
    plan_stages(config, method)
    finished = prepare(
        store, config, manifest.label_space, manifest.digest, method.reading, resume
    )
    if finished:
        log.info("run %s is finished; its result is at %s/%s", name, store.url, RESULT)
        return result_of(store)
    ours = not ray.is_initialized()
    if ours:
        ray.init(log_to_driver=True)
    _check_room(config, workers)
    filesystem, path = arrow_filesystem(storage)
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
            checkpoint_config=ray.train.CheckpointConfig(
                num_to_keep=config.checkpoint.keep_best,
                checkpoint_score_attribute="rank_score",
                checkpoint_score_order="max",
            ),
            callbacks=[Watch(config.run.max_failures)],
        ),
    )
    try:
        trainer.fit()
    except ray.train.TrainingFailedError as error:
        if ours:
            time.sleep(_LAST_LINES_S)
            ray.shutdown()  # or lines of Ray's processes might come after our last word
        raise explain(error, max_failures=config.run.max_failures, storage=storage) from None
    return result_of(store)


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


def prepare(
    store: Store,
    config: Config,
    labels: LabelSpace,
    digest: str,
    reading: Mapping[str, str],
    resume: Resume,
) -> bool:
    """Check an earlier run of this name against `resume` and what is to be, and record this one.

    Args:
        store: The run's folder.
        config: Its settings.
        labels: Of the data.
        digest: Of the data.
        reading: Readings that its method takes.
        resume: What to do about an earlier run.

    Returns:
        True if the run is already finished.

    Raises:
        CheckpointError: If `resume` forbids or misses an earlier run, or it differs.
    """
    earlier = store.size(RUN) is not None
    if earlier and resume == "never":
        raise CheckpointError(
            f"{store.url}: a run of this name exists; choose another --run-name, "
            "or continue it with --resume auto"
        )
    if not earlier and resume == "must":
        raise CheckpointError(
            f"{store.url}: no run of this name to resume; check --storage and --run-name, "
            "or start it with --resume auto"
        )
    settings = config.model_dump(mode="json")
    stage, epoch = reached(store)
    # Before the first checkpoint nothing depends on the settings yet: a wrong one can be mended.
    if earlier and stage:
        record = json.loads(store.read(RUN))
        check_labels(
            LabelSpace(tuple(record["labels"])), labels, what="the run", data=config.data.url
        )
        if record["data_digest"] != digest:
            raise CheckpointError(
                f"{store.url}: the run was trained on shard set {record['data_digest'][:12]}, "
                f"{config.data.url} now holds {digest[:12]}; use the same shards or another "
                "--run-name"
            )
        check_settings(record["config"], settings, stage=stage, epoch=epoch, run=store.url)
        if store.size(RESULT) is not None and _epochs(record["config"]) == _epochs(settings):
            return True
        check_reading(reading_of(record, reading), reading, run=store.url, state="begun")
    record = {
        "config": settings,
        "labels": list(labels.names),
        "data_digest": digest,
        "reading": dict(reading),
    }
    store.write(RUN, json.dumps(record, indent=1).encode() + b"\n")
    return False


def reading_of(record: Mapping[str, Any], otherwise: Mapping[str, str]) -> Mapping[str, str]:
    """What a `run.json` says of the readings; earlier versions of retdm did not write them."""
    reading: Mapping[str, str] = record.get("reading", otherwise)
    return reading


def _epochs(settings: dict[str, Any]) -> dict[str, int]:
    return {name: stage["epochs"] for name, stage in settings["stages"].items()}


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
    if torch.cuda.is_available():
        torch.backends.cuda.matmul.allow_tf32 = True
        torch.backends.cudnn.allow_tf32 = True
    config = Config.model_validate(settings["config"])
    conclude(train(config, RaySession(), open_store(settings["run"])))
