"""Ways to spoil rendered documents, for the tests of what checks find."""

import re

from tests.cluster.manifests import clusters, rendered

HEAD = "headGroupSpec"
HEAD_POD = f"{HEAD}.template.spec"
GROUP = "workerGroupSpecs.0"
POD = f"{GROUP}.template.spec"
RAY = f"{POD}.containers.0"
TRAIN = "python jobs/train.py jobs/recipes/coco2014-vgg16.toml --set data.url=s3://a/b "


def assert_found(run, check, spoil, fault):
    """The check finds nothing in the documents of a run, and a fault when they are spoilt."""
    documents = rendered(f"runs/{run}")
    assert check(documents) == []
    spoil(documents)
    found = check(documents)
    assert any(re.search(fault, one) for one in found), found


def of_cluster(documents):
    """Paths begin at the spec of the cluster."""
    return clusters(documents)[0].spec


def of_job(documents):
    """Paths begin at the RayJob."""
    return clusters(documents)[0].job


def of(kind, name="retdm"):
    """Paths begin at the document of that kind whose name begins so."""
    return lambda documents: next(
        one
        for one in documents
        if one["kind"] == kind and one["metadata"]["name"].startswith(name)
    )


def put(path, value, within=of_cluster):
    """Set what is at a dotted path; a number is a place in a list, "-" the one behind its end."""

    def spoil(documents):
        *parts, last = path.split(".")
        place = within(documents)
        for part in parts:
            place = place[int(part)] if isinstance(place, list) else place.setdefault(part, {})
        if last == "-":
            place.append(value)
        else:
            place[int(last) if isinstance(place, list) else last] = value

    return spoil


def entrypoint(text):
    """Give the job another command."""
    return put("spec.entrypoint", text, of_job)


def label(name, value):
    """Give the job a label."""
    return lambda documents: of_job(documents)["metadata"]["labels"].update({name: value})


def without(kind, name="retdm"):
    """Take a document out."""
    return lambda documents: documents.remove(of(kind, name)(documents))


def add(document):
    """Put a document in."""
    metadata = {"name": "x", "namespace": "retdm"}
    return lambda documents: documents.append({"metadata": metadata} | document)
