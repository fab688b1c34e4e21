"""What the checks of access find: secrets, open doors, mighty pods."""

import pytest

from tests.cluster import access
from tests.cluster.spoiling import (
    HEAD,
    HEAD_POD,
    POD,
    RAY,
    TRAIN,
    add,
    assert_found,
    entrypoint,
    of,
    of_job,
    put,
    without,
)

CASES = [
    (
        "gpu8-train",
        access.inline_secrets,
        put(f"{RAY}.env.-", {"name": "AWS_SECRET_ACCESS_KEY", "value": "x"}),
        r"RayJob.*: a secret's value instead of valueFrom",
    ),
    (
        "gpu8-train",
        access.inline_secrets,
        put("data.AWS_ACCESS_KEY_ID", "x", of("ConfigMap")),
        "AWS_ACCESS_KEY_ID is a secret's name",
    ),
    (
        "gpu8-train",
        access.inline_secrets,
        add({"kind": "Secret", "stringData": {}}),
        "Secret x is part of",
    ),
    (
        "gpu8-train",
        access.inline_secrets,
        entrypoint(TRAIN + "--set data.url=s3://AKIAIOSFODNN7EXAMPLE@bucket"),
        r"RayJob\.spec\.entrypoint looks like a secret",
    ),
    (
        "gpu8-train",
        access.inline_secrets,
        put("spec.runtimeEnvYAML", "env_vars: {AWS_SECRET_ACCESS_KEY: abc}", of_job),
        r"runtimeEnvYAML looks like a secret",
    ),
    (
        "gpu8-train",
        access.inline_secrets,
        put("gcsFaultToleranceOptions.redisPassword", {"value": "hunter2"}),
        "redisPassword: a secret's value",
    ),
    (
        "gpu8-train",
        access.no_way_to_s3,
        put("metadata.annotations", {}, of("ServiceAccount")),
        r"ray-worker: S3 by Secrets \[\] and roles \[''\]",
    ),
    (
        "gpu8-train",
        access.no_way_to_s3,
        put(f"{RAY}.envFrom.-", {"secretRef": {"name": "retdm-s3"}}),
        r"ray-worker: S3 by Secrets \['retdm-s3'\] and roles \['arn",
    ),
    (
        "gpu8-train",
        access.open_dashboards,
        put(f"{HEAD}.serviceType", "LoadBalancer"),
        "is no ClusterIP",
    ),
    (
        "gpu8-train",
        access.open_dashboards,
        put(f"{HEAD}.headService", {"spec": {"type": "NodePort"}}),
        "is no ClusterIP",
    ),
    (
        "gpu8-train",
        access.open_dashboards,
        put(f"{HEAD}.enableIngress", True),
        "the head has an Ingress",
    ),
    (
        "gpu8-train",
        access.open_dashboards,
        put(f"{HEAD_POD}.hostNetwork", True),
        "head: listens on its machine",
    ),
    (
        "gpu8-train",
        access.open_dashboards,
        add({"kind": "Ingress"}),
        "Ingress x leads into the cluster",
    ),
    ("gpu8-train", access.open_networks, without("NetworkPolicy"), "no NetworkPolicy closes"),
    (
        "gpu8-train",
        access.open_networks,
        put("spec.policyTypes", ["Ingress"], of("NetworkPolicy")),
        "no NetworkPolicy closes",
    ),
    (
        "gpu8-train",
        access.open_networks,
        put("spec.ingress.-", {"ports": [{"port": 8265}]}, of("NetworkPolicy")),
        r"open to everybody on ports \[8265\]",
    ),
    (
        "gpu8-train",
        access.open_networks,
        put("spec.ingress.1.ports", [], of("NetworkPolicy")),
        "on ports all",
    ),
    (
        "gpu8-train",
        access.open_networks,
        put("spec.ingress.0.from.-", {"namespaceSelector": {}}, of("NetworkPolicy")),
        "open to {'namespaceSelector': {}}",
    ),
    (
        "gpu8-train",
        access.open_networks,
        put("spec.egress.2.to.0.ipBlock", {"cidr": "0.0.0.0/0"}, of("NetworkPolicy")),
        "reach their machine's keys",
    ),
    (
        "gpu8-train",
        access.without_token,
        put("authOptions", {"mode": "disabled"}),
        "mode is not token",
    ),
    (
        "gpu8-train",
        access.without_token,
        put(f"{RAY}.env.-", {"name": "RAY_AUTH_MODE", "value": "disabled"}),
        "RAY_AUTH_MODE is KubeRay's",
    ),
    ("gpu8-train", access.mighty_pods, put(f"{POD}.securityContext", {}), "gpu: may run as root"),
    (
        "gpu8-train",
        access.mighty_pods,
        put(f"{RAY}.securityContext", {}),
        "ray-worker: may gain privileges",
    ),
    (
        "gpu8-train",
        access.mighty_pods,
        put(f"{POD}.hostPID", True),
        "shares a namespace of its machine",
    ),
    (
        "gpu8-train",
        access.mighty_pods,
        put(f"{POD}.volumes.-", {"name": "x", "hostPath": {"path": "/"}}),
        "has a folder of its machine",
    ),
    (
        "gpu8-train",
        access.mighty_pods,
        put(f"{POD}.automountServiceAccountToken", True),
        "automountServiceAccountToken is not False",
    ),
    (
        "spot-elastic-train",
        access.mighty_pods,
        put("autoscalerOptions.securityContext", {}),
        "head, autoscaler: may gain privileges",
    ),
    (
        "gpu8-train",
        access.loose_ends,
        put("metadata.namespace", "default", of_job),
        "namespaces: default, retdm",
    ),
    (
        "gpu8-train",
        access.loose_ends,
        without("ServiceAccount"),
        "ServiceAccount retdm is named, but not there",
    ),
    (
        "gpu8-train",
        access.loose_ends,
        without("ConfigMap", "retdm-settings"),
        "ConfigMap retdm-settings is named, but not there",
    ),
    (
        "gpu8-train",
        access.loose_ends,
        without("PriorityClass"),
        "PriorityClass retdm-training is named",
    ),
    (
        "shard",
        access.loose_ends,
        without("PersistentVolumeClaim"),
        "PersistentVolumeClaim retdm-photos is named, but not there",
    ),
]


@pytest.mark.parametrize(("run", "check", "spoil", "fault"), CASES)
def test_a_fault_is_found(run, check, spoil, fault):
    assert_found(run, check, spoil, fault)


def test_every_check_is_shown_a_fault():
    assert {check for _, check, _, _ in CASES} == set(access.CHECKS)
