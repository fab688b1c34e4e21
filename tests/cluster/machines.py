"""Checks of pods: versions, places, probes. Each returns the faults that it finds."""

import re

from retdm import __version__
from tests.cluster.manifests import (
    ROOT,
    Document,
    amount,
    clusters,
    containers,
    pods,
    ray_container,
)

GPU = "nvidia.com/gpu"
_SPOT = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
}


def wrong_versions(documents: list[Document]) -> list[str]:
    """Ray's version is that of constraints.txt, in the spec and in the images' tag, as is ours."""
    pinned = re.search(r"^ray==(\S+)$", (ROOT / "constraints.txt").read_text(), re.MULTILINE)[1]
    out = []
    for cluster in clusters(documents):
        if cluster.spec["rayVersion"] != pinned:
            out.append(f"rayVersion is {cluster.spec['rayVersion']}, constraints.txt has {pinned}")
        for name, template in pods(cluster):
            for container in containers(template):
                if not container["image"].endswith(f":{__version__}-ray{pinned}"):
                    out.append(
                        f"{name}: image {container['image']}, wanted :{__version__}-ray{pinned}"
                    )
    return out


def unequal_resources(documents: list[Document]) -> list[str]:
    """GPUs and memory are asked for as they are limited; Kubernetes shares neither out."""
    return [
        f"{name}, {container['name']}: {resource} limits and requests differ"
        for cluster in clusters(documents)
        for name, template in pods(cluster)
        for container in containers(template)
        for resource in (GPU, "memory")
        if amount(container, resource) != amount(container, resource, "requests")
    ]


def head_that_works(documents: list[Document]) -> list[str]:
    """The head has no CPUs for tasks and no GPU, and is on no machine that is taken back."""
    out = []
    for cluster in clusters(documents):
        spec = cluster.head["template"]["spec"]
        if cluster.head["rayStartParams"].get("num-cpus") != "0":
            out.append("head: num-cpus is not 0, so tasks run there")
        if amount(ray_container(cluster.head), GPU) or spec.get("tolerations"):
            out.append("head: may take a GPU node")
        terms = _node_terms(spec)
        for label, value in _SPOT.items():
            refusal = {"key": label, "operator": "NotIn", "values": [value]}
            if not terms or any(refusal not in term["matchExpressions"] for term in terms):
                out.append(f"head: may be placed on a spot node ({label})")
    return out


def _node_terms(spec: Document) -> list[Document]:
    affinity = spec.get("affinity", {}).get("nodeAffinity", {})
    required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
    return required.get("nodeSelectorTerms", [])


def workers_without_place(documents: list[Document]) -> list[str]:
    """Workers with GPUs bear the taint that GPU nodes have, others ask for none."""
    out = []
    for cluster in clusters(documents):
        for group in cluster.workers:
            keys = [one["key"] for one in group["template"]["spec"].get("tolerations", [])]
            if (GPU in keys) != (amount(ray_container(group), GPU) > 0):
                out.append(f"group {group['groupName']}: tolerations {keys} do not suit its GPUs")
    return out


def missing_probes(documents: list[Document]) -> list[str]:
    """Ray's own health addresses are asked, and a pod is ended later than it is left alone."""
    out = []
    for cluster in clusters(documents):
        for group in cluster.groups:
            head = group is cluster.head
            path = "/api/gcs_healthz" if head else "/api/local_raylet_healthz"
            wanted = {"path": path, "port": 8265 if head else 52365}
            container = ray_container(group)
            times = {}
            for kind in ("startupProbe", "readinessProbe", "livenessProbe"):
                probe = container.get(kind, {})
                if probe.get("httpGet") != wanted:
                    out.append(f"{container['name']}: {kind} does not ask {wanted}")
                times[kind] = probe.get("periodSeconds", 0) * probe.get("failureThreshold", 0)
            if times["livenessProbe"] < 2 * times["readinessProbe"]:
                out.append(f"{container['name']}: killed as soon as it is not ready")
    return out


def restarted_under_the_autoscaler(documents: list[Document]) -> list[str]:
    """Autoscaler v2 replaces pods itself, and wants them gone when they end."""
    out = []
    for cluster in clusters(documents):
        if cluster.spec.get("enableInTreeAutoscaling"):
            if cluster.spec.get("autoscalerOptions", {}).get("version") != "v2":
                out.append("autoscalerOptions.version is not v2")
            out += [
                f"group {group['groupName']}: restartPolicy is not Never"
                for group in cluster.workers
                if group["template"]["spec"].get("restartPolicy") != "Never"
            ]
    return out


CHECKS = [
    wrong_versions,
    unequal_resources,
    head_that_works,
    workers_without_place,
    missing_probes,
    restarted_under_the_autoscaler,
]
