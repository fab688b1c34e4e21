"""What a run asks Ray for."""

from retdm.config import Config
from retdm.console import counted
from retdm.onray.workers import Workers


def wants_gpus(config: Config, workers: Workers, gpus: float) -> bool:
    """Whether each worker asks for a GPU, on a cluster that has so many of them now."""
    if config.run.gpus == "auto":
        return gpus >= workers.low
    return config.run.gpus == "required"


def for_worker(config: Config, *, use_gpu: bool) -> dict[str, float]:
    """The resources of one worker, as `ScalingConfig.resources_per_worker` takes them."""
    return {"CPU": config.run.cpus_per_worker, **({"GPU": 1} if use_gpu else {})}


def describe_asked(config: Config, workers: Workers) -> list[str]:
    """The same in words, for a cluster that is not there yet.

    Example:
        >>> describe_asked(Config(), Workers(2, 2))[0]
        'asks Ray for: 2 workers, each 1 CPU and 1 GPU if the cluster has 2 (run.gpus)'
    """
    number = counted(workers.high, "worker")
    if workers.low < workers.high:
        number = f"{workers.low} to {number}"
    gpu = {
        "auto": f" and 1 GPU if the cluster has {workers.low} (run.gpus)",
        "required": " and 1 GPU",
        "none": ", no GPU",
    }[config.run.gpus]
    loaders = config.data.loader_workers
    cores = f"{config.run.cpus_per_worker:g} CPU"
    return [
        f"asks Ray for: {number}, each {cores}{gpu}",
        f"beside each worker: {loaders} loading {'process' if loaders == 1 else 'processes'} "
        "(data.loader_workers), which Ray does not count",
    ]
