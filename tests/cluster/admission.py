"""Checks of how clusters get their machines: all at once from a queue, or step by step."""

from tests.cluster.manifests import (
    Cluster,
    Document,
    amount,
    clusters,
    pods,
    quantity,
    rendered,
)

KUEUE, VOLCANO = "kueue.x-k8s.io/queue-name", "volcano.sh/queue-name"


def owners(documents: list[Document]) -> list[Document]:
    """What a queue admits."""
    return [one for one in documents if one["kind"] in ("RayCluster", "RayJob")]


def queues_that_cannot_be(documents: list[Document]) -> list[str]:
    """Kueue or Volcano or the autoscaler: none knows of another."""
    out = []
    for owner, cluster in zip(owners(documents), clusters(documents), strict=True):
        labels = owner["metadata"].get("labels", {})
        ways = [name for name in (KUEUE, VOLCANO) if name in labels]
        ways += ["enableInTreeAutoscaling"] * bool(cluster.spec.get("enableInTreeAutoscaling"))
        if len(ways) > 1:
            out.append(f"{owner['metadata']['name']}: {' and '.join(ways)}")
        if VOLCANO in labels and labels.get("ray.io/scheduler-name") != "volcano":
            out.append("a Volcano queue, but another scheduler")
        if cluster.job and KUEUE in labels and not cluster.job["spec"]["shutdownAfterJobFinishes"]:
            out.append("Kueue's quota would never be free again")
    return out


def sizes_that_are_not_fixed(documents: list[Document]) -> list[str]:
    """Without the autoscaler, which alone heeds them, there is one number of pods."""
    return [
        f"group {group['groupName']}: {group['minReplicas']} to {group['maxReplicas']} pods, "
        f"{group['replicas']} wanted, and no autoscaler"
        for cluster in clusters(documents)
        if not cluster.spec.get("enableInTreeAutoscaling")
        for group in cluster.workers
        if not group["minReplicas"] == group["replicas"] == group["maxReplicas"]
    ]


def sizes_out_of_range(documents: list[Document]) -> list[str]:
    """The autoscaler begins within its limits."""
    return [
        f"group {group['groupName']}: {group['replicas']} pods are not within "
        f"{group['minReplicas']} to {group['maxReplicas']}"
        for cluster in clusters(documents)
        for group in cluster.workers
        if not 1 <= group["minReplicas"] <= group["replicas"] <= group["maxReplicas"]
    ]


def ranks_that_displace(documents: list[Document]) -> list[str]:
    """Training waits for machines; no pod of another team is ended for it."""
    return [
        f"PriorityClass {one['metadata']['name']}: ends pods of lower priority"
        for one in documents
        if one["kind"] == "PriorityClass" and one.get("preemptionPolicy") != "Never"
    ]


def quotas_too_small(documents: list[Document]) -> list[str]:
    """The queue that a cluster waits in exists and has the quota for all of its pods."""
    out = []
    for owner, cluster in zip(owners(documents), clusters(documents), strict=True):
        labels = owner["metadata"].get("labels", {})
        for label, quota in ((KUEUE, _kueue), (VOLCANO, _volcano)):
            if label not in labels:
                continue
            room = quota(labels[label], owner["metadata"]["namespace"])
            if room is None:
                out.append(f"queue {labels[label]} does not exist")
                continue
            for resource, need in _needed(cluster).items():
                # What Volcano's queue does not name has no limit; Kueue admits none of it.
                if need > room.get(resource, float("inf") if quota is _volcano else 0):
                    out.append(f"queue {labels[label]}: {need:g} of {resource} do not fit")
    return out


def _needed(cluster: Cluster) -> dict[str, float]:
    """What all pods of a cluster ask for together, with the one that submits its job."""
    copies = {f"group {group['groupName']}": group["replicas"] for group in cluster.workers}
    out: dict[str, float] = {}
    for name, template in pods(cluster):
        for container in template["spec"]["containers"]:
            for resource in container["resources"]["requests"]:
                more = copies.get(name, 1) * amount(container, resource, "requests")
                out[resource] = out.get(resource, 0) + more
    return out


def _kueue(name: str, namespace: str) -> dict[str, float] | None:
    documents = rendered("queues/kueue")
    by_name = {(d["kind"], d["metadata"]["name"]): d for d in documents}
    local = by_name.get(("LocalQueue", name))
    if local is None or local["metadata"]["namespace"] != namespace:
        return None
    queue = by_name[("ClusterQueue", local["spec"]["clusterQueue"])]
    out: dict[str, float] = {}
    for group in queue["spec"]["resourceGroups"]:
        for flavor in group["flavors"]:
            assert ("ResourceFlavor", flavor["name"]) in by_name
            for one in flavor["resources"]:
                assert one["name"] in group["coveredResources"]
                out[one["name"]] = out.get(one["name"], 0) + quantity(one["nominalQuota"])
    return out


def _volcano(name: str, namespace: str) -> dict[str, float] | None:
    for queue in rendered("queues/volcano"):
        if queue["metadata"]["name"] == name:
            return {key: quantity(value) for key, value in queue["spec"]["capability"].items()}
    return None


CHECKS = [
    queues_that_cannot_be,
    sizes_that_are_not_fixed,
    sizes_out_of_range,
    ranks_that_displace,
    quotas_too_small,
]
