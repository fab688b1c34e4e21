"""Checks documents against the API server's schemas: fields that it does not know are faults.

For Ray's kinds the schemas are those of KubeRay's custom resource definitions. Its rules in CEL
are not evaluated; those that matter are checks of their own.
"""

import functools
import gzip
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import yaml

from tests.cluster.manifests import Document, clusters, pods

_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
KUBERNETES = "1.33"
"""Release of Kubernetes whose schemas count."""
NO_SCHEMA = {"ResourceFlavor", "ClusterQueue", "LocalQueue", "Queue"}
"""Of Kueue and Volcano, whose definitions are not at hand."""


def faults(documents: list[Document], definitions: Path) -> list[str]:
    """What the API server would refuse; `definitions` has KubeRay's as yaml.gz."""
    out = []
    for document in documents:
        kind = document["kind"]
        if document["apiVersion"].startswith("ray.io/"):
            out += [f"{kind}: {fault}" for fault in _custom(document, definitions)]
        elif kind not in NO_SCHEMA:
            out += [f"{kind}: {fault}" for fault in _standard(document)]
    for cluster in clusters(documents):
        for name, template in pods(cluster):
            metadata = {"name": "x", **template.get("metadata", {})}
            pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata}
            out += [f"{name}: {fault}" for fault in _standard(pod | {"spec": template["spec"]})]
    return out


def _standard(document: Document) -> list[str]:
    try:
        kubernetes_validate.validate(document, KUBERNETES, strict=True)
    except kubernetes_validate.ValidationError as error:
        return [f"{'.'.join(str(part) for part in error.path)}: {error.message}"]
    return []


def _custom(document: Document, definitions: Path) -> list[str]:
    validator = _validator(definitions, f"{document['kind'].lower()}s", document["apiVersion"])
    return [f"{error.json_path}: {error.message}" for error in validator.iter_errors(document)]


@functools.cache
def _validator(definitions: Path, plural: str, version: str) -> jsonschema.Draft7Validator:
    with gzip.open(definitions / f"ray.io_{plural}.yaml.gz") as file:
        definition = yaml.load(file, _LOADER)["spec"]
    (schema,) = [
        one["schema"]["openAPIV3Schema"]
        for one in definition["versions"]
        if f"ray.io/{one['name']}" == version
    ]
    strict = _strict(schema)
    strict["properties"]["metadata"] = {"type": "object"}
    return jsonschema.Draft7Validator(strict)


def _strict(schema: Any) -> Any:
    """The JSON schema of an OpenAPI one, without leave for properties that it does not name."""
    if not isinstance(schema, dict):
        return schema
    out = {key: value for key, value in schema.items() if not key.startswith("x-kubernetes")}
    if schema.get("x-kubernetes-int-or-string"):
        return {"anyOf": [{"type": "integer"}, {"type": "string"}]}
    properties = schema.get("properties")
    if properties is not None:
        out["properties"] = {name: _strict(value) for name, value in properties.items()}
        if not schema.get("x-kubernetes-preserve-unknown-fields"):
            out.setdefault("additionalProperties", False)
    if isinstance(schema.get("additionalProperties"), dict):
        out["additionalProperties"] = _strict(schema["additionalProperties"])
    if "items" in schema:
        out["items"] = _strict(schema["items"])
    # The API server fills defaults in before it validates.
    given = [name for name in schema.get("required", ()) if "default" not in properties[name]]
    out.pop("required", None)
    return out | ({"required": given} if given else {})
