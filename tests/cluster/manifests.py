"""The manifests of cluster/kuberay as Kubernetes would get them, and what is where in them."""

import copy
import functools
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
KUBERAY = ROOT / "cluster/kuberay"
Document = dict[str, Any]
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_UNITS = {"": 1, "m": 1e-3, "k": 1e3, "M": 1e6, "G": 1e9, "T": 1e12} | {
    f"{letter}i": 2.0 ** (10 * power) for power, letter in enumerate("KMGT", 1)
}


def targets(*folders: str) -> list[str]:
    """What an operator applies, by its path below cluster/kuberay."""
    return [
        str(file.parent.relative_to(KUBERAY))
        for folder in folders
        for file in sorted((KUBERAY / folder).glob("*/kustomization.yaml"))
    ]


CLUSTERS = targets("overlays", "runs")
QUEUES = targets("queues")


def kubectl() -> str:
    """The real program; without it the test is skipped."""
    program = os.environ.get("RETDM_KUBECTL") or shutil.which("kubectl")
    if not program:
        pytest.skip("no kubectl to render the manifests with; install it or set RETDM_KUBECTL")
    return program


def rendered(folder: str | Path) -> list[Document]:
    """The documents of `kubectl kustomize` for a folder below cluster/kuberay; a copy of ours."""
    return copy.deepcopy(_rendered(kubectl(), str(KUBERAY / folder)))


@functools.cache
def _rendered(program: str, folder: str) -> list[Document]:
    done = subprocess.run(
        [program, "kustomize", folder], capture_output=True, text=True, timeout=120
    )
    assert done.returncode == 0, done.stderr
    return list(yaml.load_all(done.stdout, _LOADER))


@dataclass(frozen=True)
class Cluster:
    """A Ray cluster that is asked for: a standing one, or a job's own."""

    spec: Document
    job: Document | None
    """The RayJob that it is for."""

    @property
    def head(self) -> Document:
        return self.spec["headGroupSpec"]

    @property
    def workers(self) -> list[Document]:
        return self.spec["workerGroupSpecs"]

    @property
    def groups(self) -> list[Document]:
        return [self.head, *self.workers]


def clusters(documents: list[Document]) -> list[Cluster]:
    """All Ray clusters among the documents."""
    out = []
    for document in documents:
        if document["kind"] == "RayCluster":
            out.append(Cluster(document["spec"], None))
        elif document["kind"] == "RayJob":
            out.append(Cluster(document["spec"]["rayClusterSpec"], document))
    return out


def pods(cluster: Cluster) -> Iterator[tuple[str, Document]]:
    """Every pod template, with what it is called in messages."""
    yield "head", cluster.head["template"]
    for group in cluster.workers:
        yield f"group {group['groupName']}", group["template"]
    if cluster.job and "submitterPodTemplate" in cluster.job["spec"]:
        yield "submitter", cluster.job["spec"]["submitterPodTemplate"]


def containers(template: Document) -> list[Document]:
    """Those of a pod, with those that run before it."""
    return [*template["spec"].get("initContainers", []), *template["spec"]["containers"]]


def ray_container(group: Document) -> Document:
    """The container in which Ray runs: KubeRay takes the first."""
    return group["template"]["spec"]["containers"][0]


def amount(container: Document, resource: str, side: str = "limits") -> float:
    """What a container may have, or asks for ("requests"), of a resource; 0 if nothing is said."""
    return quantity(container.get("resources", {}).get(side, {}).get(resource, 0))


def quantity(text: str | int) -> float:
    """The number that Kubernetes reads.

    Example:
        >>> quantity("2Gi"), quantity("500m")
        (2147483648.0, 0.5)
    """
    match = re.fullmatch(r"([0-9.]+)([a-zA-Z]*)", str(text))
    assert match, f"{text!r} is no quantity"
    return float(match[1]) * _UNITS[match[2]]


def mounted(group: Document, path: str) -> Document | None:
    """The volume that the Ray container of a group has at `path`."""
    names = [
        m["name"] for m in ray_container(group).get("volumeMounts", []) if m["mountPath"] == path
    ]
    volumes = group["template"]["spec"].get("volumes", [])
    return next((volume for volume in volumes if volume["name"] in names), None)
