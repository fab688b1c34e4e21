"""A check that a pod which ends has the time for a checkpoint, and how long that takes."""

from retdm.config import Config
from tests.cluster.commands import commands_on, environment
from tests.cluster.manifests import Document, clusters, mounted, ray_container
from tests.cluster.weights import num_weights

_STEP_S = 15.0
"""The slowest step that is allowed for, and hearing of a notice."""
_DISK_BYTES_S, _UPLOAD_BYTES_S = 250e6, 50e6
"""For writing and digesting a checkpoint, and to S3."""
_MARGIN_S = 10


def short_grace(documents: list[Document]) -> list[str]:
    """A pod that ends has the time for a step and a checkpoint, and uses it (leave.py)."""
    out = []
    for cluster in clusters(documents):
        for command in commands_on(cluster, documents):
            need = max((seconds_to_save(config) for config in command.configs), default=0)
            for group in cluster.groups:
                part = "head" if group is cluster.head else "worker"
                spec, container = group["template"]["spec"], ray_container(group)
                hook = container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
                match hook.get("command"):
                    case ["python", "/etc/retdm/leave.py", str(own), str(seconds)] if own == part:
                        notice = int(seconds)
                    case other:
                        out.append(f"{part}: preStop {other} does not say that the pod ends")
                        continue
                if mounted(group, "/etc/retdm") is None:
                    out.append(f"{part}: leave.py is not mounted")
                if spec.get("terminationGracePeriodSeconds", 30) < notice + _MARGIN_S:
                    out.append(f"{part}: killed within {notice} s, which leave.py may take")
                if part == "head":
                    kill = int(environment(cluster, documents).get("RAY_JOB_STOP_WAIT_TIME_S", 3))
                    if notice < kill:
                        out.append(f"head: leaves before a stopped job is killed, after {kill} s")
                    notice = min(notice, kill)
                if notice < need:
                    out.append(f"{part}: {notice} s for a checkpoint that takes {need:.0f} s")
    return out


def seconds_to_save(config: Config) -> float:
    """From the notice until there is a checkpoint on S3."""
    size = checkpoint_bytes(config)
    return _STEP_S + 2 * size / _DISK_BYTES_S + size / _UPLOAD_BYTES_S


def checkpoint_bytes(config: Config) -> int:
    """Weights, their momentum, and the bank, as float32."""
    return 4 * (2 * num_weights(config) + config.bank.size * config.model.embedding)


CHECKS = [short_grace]
