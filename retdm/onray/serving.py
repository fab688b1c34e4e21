"""Serves a trained model over HTTP by Ray Serve, until a signal comes.

Each replica has the model whole. It decodes the images of its requests in threads, and scores
what is decoded by then in one batch, whatever requests it came with.
"""

import logging
import os
import time
import warnings
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import ray
import ray.exceptions
import ray.util
from fastapi import FastAPI
from jaxtyping import Float32, UInt8
from PIL import Image
from torch import Tensor

from retdm.console import Failed, counted
from retdm.errors import ConfigError
from retdm.onray.heeding import heeding_signals
from retdm.onray.joining import join
from retdm.onray.owning import owned
from retdm.predictor import load
from retdm.predictor.bundle import is_bundle
from retdm.serving import gate
from retdm.serving.address import in_url
from retdm.serving.app import build_app
from retdm.serving.limits import Limits
from retdm.serving.scoring import Scoring
from retdm.storage import open_store

with warnings.catch_warnings():
    warnings.simplefilter("ignore", DeprecationWarning)  # of what Ray itself asks of pydantic
    from ray import serve

log = logging.getLogger(__name__)
_NAME = "retdm"
_CONTROLLER = "SERVE_CONTROLLER_ACTOR"
"""Of Ray Serve, of which a cluster has one."""
_BATCHES = 4
"""Full batches of requests that a replica works on at once: one in the network, others decoding or
about to be answered."""
_LOOK_EVERY_S = 1.0
"""For a signal that came to another thread of this process."""
_GATE = f"{gate.__name__}.{gate.middlewares.__name__}"
_LEAST_ONGOING = 16
"""Requests that a replica works on at once, however small its batches are."""
_REQUEST_S = 120.0
"""From when Serve has a request to its answer."""
_ENVIRONMENT = {"OMP_WAIT_POLICY": "PASSIVE"}
"""Of replicas: threads of torch must not keep those that decode from the cores."""


@dataclass(frozen=True, slots=True)
class Service:
    """What is to be served, and how."""

    model: str
    """URL of a run or a bundle."""
    checkpoint: str
    host: str
    port: int
    replicas: int
    cpus: int
    """Cores of a replica, which decodes by as many threads."""
    max_batch: int
    """Images that go through the network together."""
    batch_wait_ms: float
    """For which a batch that is not full waits."""
    max_images: int
    """In one request."""
    max_image_bytes: int
    """Of one image file."""
    max_image_pixels: int
    """Of one image."""

    @property
    def ongoing(self) -> int:
        """Requests that a replica works on at once."""
        return max(_BATCHES * self.max_batch, _LEAST_ONGOING)

    @property
    def limits(self) -> Limits:
        """Of each HTTP server; as many requests wait as are worked on."""
        return Limits(
            images=self.max_images,
            image_bytes=self.max_image_bytes,
            image_pixels=self.max_image_pixels,
            requests=2 * self.ongoing * self.replicas,
        )


class Replica:
    """The model in a process of its own, with its HTTP interface."""

    def __init__(self, service: Service) -> None:
        self._limits = service.limits
        # Memory is bounded by these two: of this process, and by default as many as all cores.
        Image.MAX_IMAGE_PIXELS = service.max_image_pixels
        model = replace(load(service.model, checkpoint=service.checkpoint), threads=service.cpus)
        self._scoring = scoring = Scoring(model)

        @serve.batch(  # type: ignore[untyped-decorator]
            max_batch_size=service.max_batch, batch_wait_timeout_s=service.batch_wait_ms / 1000
        )
        async def score(
            images: list[UInt8[Tensor, "3 side side"]],
        ) -> list[Float32[np.ndarray, " labels"]]:
            return await scoring.score(images)

        self._score = score

    def __serve_build_asgi_app__(self) -> FastAPI:
        """For Ray Serve, when the model is there."""
        return build_app(self._scoring, self._score, self._limits)


def run_service(service: Service) -> None:
    """Serve until SIGTERM or Ctrl-C.

    Raises:
        RetdmError: For anything the user can mend; nothing of the service is started then.
        Failed: If Ray Serve does not come up.
        Stopped: After a signal, when all has ended.
    """
    service, words = _looked_at(service)
    logging.getLogger("ray.serve").setLevel(logging.WARNING)
    join()
    try:
        # Two programs might both find no Serve, and the second would take that of the first.
        with heeding_signals(), owned("serve") as ours:
            _check_cluster(service, ours)
            try:
                _start(service)
                try:
                    log.info("%s", words)
                    while True:
                        time.sleep(_LOOK_EVERY_S)
                finally:
                    serve.delete(_NAME)  # which waits for requests under way; shutdown does not
            finally:
                serve.shutdown()
    finally:
        ray.shutdown()


def _looked_at(service: Service) -> tuple[Service, str]:
    """What replicas get, and what is said of it; the model itself is not kept."""
    model = load(service.model, checkpoint=service.checkpoint, device="cpu")
    if not is_bundle(open_store(service.model)):
        # By its own name: what is best may change before the last replica starts.
        service = replace(service, checkpoint=model.origin.checkpoint)
    where = f"http://{in_url(service.host)}:{service.port}"
    return service, (
        f"serving {model.origin.url}, {model.origin.checkpoint}, "
        f"{counted(len(model.labels), 'label')}, by {counted(service.replicas, 'replica')}\n"
        f"at {where}, with a page at {where}/docs; Ctrl-C ends it"
    )


def _check_cluster(service: Service, ours: bool) -> None:
    """Refuse what would wait for ever, or be served with the settings of another program.

    Raises:
        ConfigError: If Serve runs already, or this machine's own Ray has no room.
    """
    actors = ray.util.list_named_actors(all_namespaces=True)
    if not ours or any(one["name"] == _CONTROLLER for one in actors):
        raise ConfigError(
            "Ray Serve runs on this cluster already, and a cluster has one; end the program that "
            "started it, or what such a program left (serve shutdown --yes)"
        )
    cores = ray.cluster_resources().get("CPU", 0)
    wanted = service.replicas * service.cpus
    # A cluster, which a job finds through RAY_ADDRESS, may grow or become free.
    if wanted > cores and os.environ.get("RAY_ADDRESS", "local") == "local":
        raise ConfigError(
            f"--replicas {service.replicas} of --cpus {service.cpus} need {wanted} CPU cores, Ray "
            f"on this machine has {cores:g}; ask for fewer, or submit to a cluster"
        )


def _start(service: Service) -> None:
    quiet = {"log_level": "WARNING", "enable_access_log": False}
    environment = {
        gate.VARIABLE: service.limits.text(),
        "RAY_SERVE_HTTP_PROXY_CALLBACK_IMPORT_PATH": _GATE,
    }
    try:
        serve.start(
            proxy_location="EveryNode",
            http_options={
                "host": service.host,
                "port": service.port,
                "request_timeout_s": _REQUEST_S,
            },
            logging_config=quiet,
            # The HTTP servers are children of the controller, and have its environment.
            controller_options={"runtime_env": {"env_vars": environment}},
        )
        serve.run(_application(service, quiet), name=_NAME, route_prefix="/")
    except (RuntimeError, TimeoutError, ray.exceptions.RayError) as error:
        raise Failed(
            f"Ray Serve did not come up: {_last_line(error)}; Ray's logs, in the folder serve/, "
            "say more"
        ) from error


def _application(service: Service, logging_config: dict[str, Any]) -> serve.Application:
    use_gpu = ray.cluster_resources().get("GPU", 0) >= service.replicas
    deployment = serve.deployment(
        serve.ingress()(Replica),
        name="Replica",
        num_replicas=service.replicas,
        max_ongoing_requests=service.ongoing,
        # The gate refuses first, in the form that is documented.
        max_queued_requests=service.limits.requests,
        ray_actor_options={
            "num_cpus": service.cpus,
            "num_gpus": int(use_gpu),
            "runtime_env": {"env_vars": _ENVIRONMENT},
        },
        graceful_shutdown_wait_loop_s=0.2,
        logging_config=logging_config,
    )
    return deployment.bind(service)


def _last_line(error: BaseException) -> str:
    return str(error).strip().rpartition("\n")[2].strip() or type(error).__name__
