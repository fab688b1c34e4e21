"""Checks of who may do what: secrets, addresses, the network, and what pods may do."""

import re
from collections.abc import Iterator
from typing import Any

from tests.cluster.manifests import Document, clusters, containers, pods, ray_container

_SECRET_NAME = re.compile(r"SECRET|PASSWORD|TOKEN|CREDENTIAL|(^|_)KEY(_|$)|ACCESS_KEY", re.I)
_SECRET_TEXT = re.compile(
    r"(?<![A-Z0-9])(AKIA|ASIA)[A-Z0-9]{16}|://[^/\s@]+:[^/\s@]+@|-----BEGIN|"
    r"(SECRET|PASSWORD|TOKEN|ACCESS_KEY)[A-Z_]*\s*[=:]\s*\S",
    re.I,
)
_RAY_PODS = {"matchLabels": {"ray.io/is-ray-node": "yes"}}
_SUBMITTERS = {"matchLabels": {"retdm/role": "submitter"}}
_OPERATOR = {"matchLabels": {"app.kubernetes.io/name": "kuberay-operator"}}
_MONITORING = {"matchLabels": {"kubernetes.io/metadata.name": "monitoring"}}
_MACHINE_KEYS = "169.254.0.0/16"
_GLOBAL = {"Namespace", "PriorityClass"}


def inline_secrets(documents: list[Document]) -> list[str]:
    """No key, token or password stands in a manifest: they come by reference alone."""
    out = []
    for document in documents:
        if document["kind"] == "Secret":
            out.append(f"Secret {document['metadata']['name']} is part of what is applied")
        data = document.get("data", {}) if document["kind"] == "ConfigMap" else {}
        out += [
            f"ConfigMap: {name} is a secret's name" for name in data if _SECRET_NAME.search(name)
        ]
        for path, value in _leaves(document, ""):
            # The script that pods run when they end; what it says of tokens is no token.
            if (
                isinstance(value, str)
                and path != ".data.stop_jobs.py"
                and _SECRET_TEXT.search(value)
            ):
                out.append(f"{document['kind']}{path} looks like a secret")
        for path, entry in _entries(document, ""):
            if "value" in entry and _SECRET_NAME.search(str(entry.get("name", path))):
                out.append(f"{document['kind']}{path}: a secret's value instead of valueFrom")
    return out


def _leaves(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    if isinstance(value, dict):
        for key, item in value.items():
            yield from _leaves(item, f"{path}.{key}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _leaves(item, f"{path}.{at}")
    else:
        yield path, value


def _entries(value: Any, path: str) -> Iterator[tuple[str, Document]]:
    """Mappings that give something a value: of `env`, and redisPassword."""
    if isinstance(value, dict):
        if {"name", "value"} <= set(value) or path.endswith("redisPassword"):
            yield path, value
        for key, item in value.items():
            yield from _entries(item, f"{path}.{key}")
    elif isinstance(value, list):
        for at, item in enumerate(value):
            yield from _entries(item, f"{path}.{at}")


def no_way_to_s3(documents: list[Document]) -> list[str]:
    """Every Ray pod has keys from one Secret, or all have an IAM role; not both, not neither."""
    roles = [
        document["metadata"].get("annotations", {}).get("eks.amazonaws.com/role-arn", "")
        for document in documents
        if document["kind"] == "ServiceAccount"
    ]
    out = []
    for cluster in clusters(documents):
        for group in cluster.groups:
            container = ray_container(group)
            secrets = [
                one["secretRef"]["name"] for one in container["envFrom"] if "secretRef" in one
            ]
            if len(secrets) + sum(map(bool, roles)) != 1:
                out.append(f"{container['name']}: S3 by Secrets {secrets} and roles {roles}")
    return out


def open_dashboards(documents: list[Document]) -> list[str]:
    """Nothing leads to a cluster from outside of Kubernetes."""
    out = [
        f"{document['kind']} {document['metadata']['name']} leads into the cluster"
        for document in documents
        if document["kind"] in ("Service", "Ingress", "Route", "HTTPRoute", "Gateway")
    ]
    for cluster in clusters(documents):
        head = cluster.head
        service = head.get("headService", {}).get("spec", {}).get("type", "ClusterIP")
        if {head.get("serviceType", "ClusterIP"), service} != {"ClusterIP"}:
            out.append("the head's service is no ClusterIP")
        if head.get("enableIngress"):
            out.append("the head has an Ingress")
        for name, template in pods(cluster):
            ports = [
                p for c in containers(template) for p in c.get("ports", ()) if "hostPort" in p
            ]
            if ports or template["spec"].get("hostNetwork"):
                out.append(f"{name}: listens on its machine's address")
    return out


def open_networks(documents: list[Document]) -> list[str]:
    """Ray's pods are reached by one another, the submitter, the operator and Prometheus alone."""
    policies = [d["spec"] for d in documents if d["kind"] == "NetworkPolicy"]
    ours = [policy for policy in policies if policy["podSelector"] == _RAY_PODS]
    if len(ours) != 1 or set(ours[0]["policyTypes"]) != {"Ingress", "Egress"}:
        return ["no NetworkPolicy closes Ray's pods in both directions"]
    out = []
    for rule in ours[0]["ingress"]:
        ports = [one["port"] for one in rule.get("ports", ())]
        for peer in rule.get("from") or [{}]:
            allowed = (
                peer == {"podSelector": _RAY_PODS}
                or (ports == [8265] and peer == {"podSelector": _SUBMITTERS})
                or (ports == [8265] and peer.get("podSelector") == _OPERATOR)
                or (ports == [8080] and peer == {"namespaceSelector": _MONITORING})
            )
            if not allowed:
                out.append(
                    f"Ray's pods are open to {peer or 'everybody'} on ports {ports or 'all'}"
                )
    for policy in policies:
        for rule in policy.get("egress", ()):
            for peer in rule.get("to", ()):
                block = peer.get("ipBlock")
                if block and _MACHINE_KEYS not in block.get("except", ()):
                    out.append(f"pods reach their machine's keys ({_MACHINE_KEYS})")
    return out


def without_token(documents: list[Document]) -> list[str]:
    """Ray asks everybody for the token."""
    out = []
    for cluster in clusters(documents):
        if cluster.spec.get("authOptions", {}).get("mode") != "token":
            out.append("authOptions.mode is not token")
        for group in cluster.groups:
            for entry in ray_container(group).get("env", []):
                if entry["name"].startswith("RAY_AUTH"):
                    out.append(f"{entry['name']} is KubeRay's to set")
    return out


def mighty_pods(documents: list[Document]) -> list[str]:
    """Pods keep to the "restricted" standard and have no token of the API server without need."""
    out = []
    for cluster in clusters(documents):
        for name, template in pods(cluster):
            spec = template["spec"]
            security = spec.get("securityContext", {})
            if security.get("runAsNonRoot") is not True:
                out.append(f"{name}: may run as root")
            if security.get("seccompProfile", {}).get("type") != "RuntimeDefault":
                out.append(f"{name}: no seccomp profile")
            if any(spec.get(one) for one in ("hostNetwork", "hostPID", "hostIPC")):
                out.append(f"{name}: shares a namespace of its machine")
            if any("hostPath" in volume for volume in spec.get("volumes", ())):
                out.append(f"{name}: has a folder of its machine")
            scales = name == "head" and cluster.spec.get("enableInTreeAutoscaling", False)
            if spec.get("automountServiceAccountToken") is not scales:
                out.append(f"{name}: automountServiceAccountToken is not {scales}")
            # KubeRay adds the autoscaler's container to the head's pod.
            added = [{"name": "autoscaler", **cluster.spec["autoscalerOptions"]}] if scales else []
            for container in [*containers(template), *added]:
                own = container.get("securityContext", {})
                closed = own.get("allowPrivilegeEscalation") is False and not own.get("privileged")
                if not closed or own.get("capabilities", {}).get("drop") != ["ALL"]:
                    out.append(f"{name}, {container['name']}: may gain privileges")
    return out


def loose_ends(documents: list[Document]) -> list[str]:
    """All that belongs into a namespace is in one, and what pods name is there."""
    spaces = {
        document["metadata"].get("namespace", "none")
        for document in documents
        if document["kind"] not in _GLOBAL
    }
    out = [f"namespaces: {', '.join(sorted(spaces))}"] if len(spaces) != 1 else []
    there = {(document["kind"], document["metadata"]["name"]) for document in documents}
    wanted: set[tuple[str, str]] = {("Namespace", space) for space in spaces}
    for cluster in clusters(documents):
        for _, template in pods(cluster):
            spec = template["spec"]
            wanted.add(("ServiceAccount", spec.get("serviceAccountName", "default")))
            if "priorityClassName" in spec:
                wanted.add(("PriorityClass", spec["priorityClassName"]))
            for volume in spec.get("volumes", ()):
                if "configMap" in volume:
                    wanted.add(("ConfigMap", volume["configMap"]["name"]))
                if "persistentVolumeClaim" in volume:
                    claim = volume["persistentVolumeClaim"]["claimName"]
                    wanted.add(("PersistentVolumeClaim", claim))
            for source in [s for c in containers(template) for s in c.get("envFrom", ())]:
                if "configMapRef" in source:
                    wanted.add(("ConfigMap", source["configMapRef"]["name"]))
    return out + [
        f"{kind} {name} is named, but not there" for kind, name in sorted(wanted - there)
    ]


CHECKS = [
    inline_secrets,
    no_way_to_s3,
    open_dashboards,
    open_networks,
    without_token,
    mighty_pods,
    loose_ends,
]
