"""A check that a pod which ends has the time for a checkpoint, and how long that takes."""

from retdm.config import Config
from tests.cluster.commands import commands_on
from tests.cluster.manifests import Document, clusters, mounted, ray_container
from tests.cluster.weights import num_weights

_STEP_S = 15.0
"""The slowest step that is allowed for, and hearing of a notice."""
_DISK_BYTES_S, _UPLOAD_BYTES_S = 250e6, 50e6
"""For writing and digesting a checkpoint, and to S3."""
_MARGIN_S = 20
"""For Ray to end its processes."""


def short_grace(documents: list[Document]) -> list[str]:
    """A pod that ends has the time for a step and a checkpoint, and hears of it first."""
    out = []
    for cluster in clusters(documents):
        for command in commands_on(cluster, documents):
            need = max((seconds_to_save(config) for config in command.configs), default=0)
            for group in cluster.groups:
                name = group.get("groupName", "head")
                notice, wrong = _head(group) if group is cluster.head else _worker(group)
                out += wrong
                grace = group["template"]["spec"].get("terminationGracePeriodSeconds", 30)
                if grace < notice + _MARGIN_S:
                    out.append(f"{name}: killed after {grace} s, and leaving may take {notice}")
                if notice < need:
                    out.append(f"{name}: {notice} s for a checkpoint that takes {need:.0f} s")
    return out


def _worker(group: Document) -> tuple[int, list[str]]:
    """How long Ray drains the node at SIGTERM."""
    return int(_variable(group, "RAY_GRACEFUL_SHUTDOWN_DRAIN_TIMEOUT_S", 30)), []


def _head(group: Document) -> tuple[int, list[str]]:
    """How long a job has to end when the pod does; and what keeps it from hearing."""
    kill = int(_variable(group, "RAY_JOB_STOP_WAIT_TIME_S", 3))
    hook = ray_container(group).get("lifecycle", {}).get("preStop", {}).get("exec", {})
    match hook.get("command"):
        case ["python", "/etc/retdm/stop_jobs.py", str(seconds)]:
            if mounted(group, "/etc/retdm") is None:
                return kill, ["head: stop_jobs.py is not mounted"]
            if int(seconds) < kill:
                return kill, [f"head: ends before a job is killed, after {kill} s"]
            return kill, []
        case other:
            return kill, [f"head: preStop {other} does not stop the jobs"]


def _variable(group: Document, name: str, default: int) -> str:
    values = {one["name"]: one.get("value") for one in ray_container(group).get("env", [])}
    return values.get(name) or str(default)


def seconds_to_save(config: Config) -> float:
    """From the notice until there is a checkpoint on S3."""
    size = checkpoint_bytes(config)
    return _STEP_S + 2 * size / _DISK_BYTES_S + size / _UPLOAD_BYTES_S


def checkpoint_bytes(config: Config) -> int:
    """Weights, their momentum, and the bank, as float32."""
    return 4 * (2 * num_weights(config) + config.bank.size * config.model.embedding)


CHECKS = [short_grace]
