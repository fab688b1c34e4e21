"""Checks of RayJobs: their commands, and that workers, GPUs and cluster fit one another."""

import re

import yaml

from tests.cluster.commands import Refused, commands_on, environment, read
from tests.cluster.machines import GPU
from tests.cluster.manifests import Cluster, Document, amount, clusters, containers, ray_container
from tests.cluster.room import ranks


def refused_commands(documents: list[Document]) -> list[str]:
    """Our own programs take every command: the jobs', and those before a worker starts."""
    out = []
    for cluster in clusters(documents):
        if cluster.job is None:
            continue
        env = environment(cluster, documents)
        lines = [cluster.job["spec"]["entrypoint"]]
        for group in cluster.workers:
            lines += [
                " ".join(c["command"]) for c in containers(group["template"]) if "command" in c
            ]
        for line in lines:
            try:
                read(line, env)
            except Refused as refused:
                out.append(str(refused))
    return out


def folders_of_one_pod(documents: list[Document]) -> list[str]:
    """Shards and runs are on S3, which all pods reach, and outlive them."""
    out = []
    for cluster in clusters(documents):
        for command in commands_on(cluster, documents) if cluster.job else ():
            urls = [config.data.url for config in command.configs]
            urls += [getattr(command.given, name, "s3://") for name in ("storage", "out")]
            out += [f"{url} is no place that all pods reach" for url in urls if url[:5] != "s3://"]
    return out


def workers_that_do_not_fit(documents: list[Document]) -> list[str]:
    """The cluster has a GPU, or the cores, for every worker of the runs that are made at once."""
    out = []
    for cluster in clusters(documents):
        for command in commands_on(cluster, documents) if cluster.job else ():
            for config in command.configs:
                rooms = {group["groupName"]: ranks(group, config) for group in cluster.workers}
                for group in cluster.workers:
                    gpus = amount(ray_container(group), GPU)
                    if rooms[group["groupName"]] < gpus:
                        out.append(
                            f"group {group['groupName']}: its cores are too few for {gpus:g} "
                            f"workers with run.cpus_per_worker={config.run.cpus_per_worker:g}"
                        )
                room = sum(rooms[g["groupName"]] * g["maxReplicas"] for g in cluster.workers)
                need = command.workers.high * command.at_once
                if need > room:
                    out.append(f"{need} workers at once, the cluster has room for {room}")
    return out


def ranges_that_differ(documents: list[Document]) -> list[str]:
    """The autoscaler's least and most pods have just the workers of --workers MIN:MAX.

    And the least are there at the beginning.
    """
    out = []
    for cluster in clusters(documents):
        scales = cluster.spec.get("enableInTreeAutoscaling", False)
        for command in commands_on(cluster, documents) if cluster.job else ():
            if not command.configs:
                continue
            low, high = command.workers.low, command.workers.high
            if scales != (low < high):
                out.append(f"--workers {low}:{high}, but enableInTreeAutoscaling is {scales}")
            each = [ranks(group, command.configs[0]) for group in cluster.workers]
            for name, wanted in (("minReplicas", low), ("maxReplicas", high)):
                found = sum(n * g[name] for n, g in zip(each, cluster.workers, strict=True))
                if scales and found != wanted:
                    out.append(f"{name} make {found} workers, --workers says {wanted}")
            there = sum(n * g["replicas"] for n, g in zip(each, cluster.workers, strict=True))
            if there < low:
                out.append(f"replicas make {there} workers at the beginning, {low} are needed")
    return out


def gpus_left_to_chance(documents: list[Document]) -> list[str]:
    """Where pods have GPUs, runs wait for them: at "auto", one that finds none trains without."""
    out = []
    for cluster in clusters(documents):
        have = any(amount(ray_container(group), GPU) for group in cluster.workers)
        for command in commands_on(cluster, documents) if cluster.job else ():
            out += [
                f"run.gpus={config.run.gpus} on a cluster {'with' if have else 'without'} GPUs"
                for config in command.configs
                if (config.run.gpus == "required") != have
            ]
    return out


def drivers_without_place(documents: list[Document]) -> list[str]:
    """An entrypoint that asks for cores has a pod with as many."""
    out = []
    for cluster in clusters(documents):
        need = cluster.job["spec"].get("entrypointNumCpus", 0) if cluster.job else 0
        room = max(amount(ray_container(group), "cpu") for group in cluster.workers)
        if need > room:
            out.append(f"entrypointNumCpus is {need}, no pod has more than {room:g}")
        for command in commands_on(cluster, documents) if cluster.job else ():
            busy = getattr(command.given, "workers", None)
            if not command.configs and isinstance(busy, int) and busy > need:
                out.append(f"--workers {busy} beside entrypointNumCpus {need}")
    return out


def refused_by_the_operator(documents: list[Document]) -> list[str]:
    """What KubeRay accepts as YAML and refuses later, and what would leave machines running."""
    return [
        f"{cluster.job['metadata']['name']}: {fault}"
        for cluster in clusters(documents)
        if cluster.job
        for fault in _refusals(cluster)
    ]


def _refusals(cluster: Cluster) -> list[str]:
    assert cluster.job
    spec, out = cluster.job["spec"], []
    if not re.fullmatch(r"[a-z]([-a-z0-9]{0,45}[a-z0-9])?", cluster.job["metadata"]["name"]):
        out.append("a name has at most 47 small letters, digits and hyphens")
    if not spec.get("shutdownAfterJobFinishes"):
        out.append("the cluster stays when the job has ended")
    if "clusterSelector" in spec:
        out.append("clusterSelector beside rayClusterSpec")
    if spec.get("submissionMode") != "K8sJobMode":
        out.append("submissionMode: the network policy knows the pod of K8sJobMode alone")
    labels = spec.get("submitterPodTemplate", {}).get("metadata", {}).get("labels", {})
    if labels.get("retdm/role") != "submitter":
        out.append("the network policy does not let the submitter in")
    for name in ("activeDeadlineSeconds", "backoffLimit", "ttlSecondsAfterFinished"):
        if spec.get(name, 1) < (1 if name == "activeDeadlineSeconds" else 0):
            out.append(f"{name} is negative or 0")
    if spec.get("suspend"):
        out.append("suspend would stop an admitted run when it is applied again")
    if not isinstance(yaml.safe_load(spec.get("runtimeEnvYAML", "{}")), dict):
        out.append("runtimeEnvYAML is no mapping")
    head = spec["rayClusterSpec"]["headGroupSpec"]
    names = {one["name"] for one in ray_container(head).get("env", [])}
    for wrong in sorted(names & {"RAY_REDIS_ADDRESS", "REDIS_PASSWORD", "REDIS_USERNAME"}):
        out.append(f"{wrong} belongs into gcsFaultToleranceOptions")
    return out


CHECKS = [
    refused_commands,
    folders_of_one_pod,
    workers_that_do_not_fit,
    ranges_that_differ,
    gpus_left_to_chance,
    drivers_without_place,
    refused_by_the_operator,
]
