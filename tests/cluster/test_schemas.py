"""The manifests are of the shape that Kubernetes and KubeRay take."""

import re
import shutil

import pytest
import yaml

from tests.cluster import schemas
from tests.cluster.manifests import CLUSTERS, KUBERAY, QUEUES, clusters, rendered
from tests.cluster.spoiling import of


@pytest.fixture(scope="session")
def definitions(shared_data):
    """KubeRay's custom resource definitions; without them the test is skipped."""
    folder = shared_data.parent / "schemas/kuberay"
    if not folder.is_dir():
        pytest.skip(f"no definitions of KubeRay at {folder}")
    return folder


@pytest.mark.parametrize("target", CLUSTERS + QUEUES)
def test_every_document_passes_the_schema_of_its_kind(target, definitions):
    assert schemas.faults(rendered(target), definitions) == []


def test_the_example_of_a_secret_passes_and_is_part_of_nothing(definitions):
    file = KUBERAY / "components/s3-secret/secret.example.yaml"
    assert schemas.faults([yaml.safe_load(file.read_text())], definitions) == []
    for target in CLUSTERS + QUEUES:
        assert "Secret" not in [document["kind"] for document in rendered(target)]


def _group(documents):
    return clusters(documents)[0].workers[0]


@pytest.mark.parametrize(
    ("spoil", "fault"),
    [
        (lambda d: _group(d).update(minReplica=1), r"RayJob: .*'minReplica' was unexpected"),
        (lambda d: _group(d).update(replicas="1"), r"RayJob: .*'1' is not of type 'integer'"),
        (
            lambda d: clusters(d)[0].job["spec"].update(submissionmode="HTTPMode"),
            r"'submissionmode' was unexpected",
        ),
        (
            lambda d: clusters(d)[0].spec["authOptions"].update(mode="tokens"),
            r"'tokens' is not one of",
        ),
        (
            lambda d: _group(d)["template"]["spec"].update(tolerance=[]),
            r"group gpu: .*'tolerance' was unexpected",
        ),
        (
            lambda d: _group(d)["template"]["spec"]["containers"][0].pop("name"),
            r"'name' is a required property",
        ),
        (
            lambda d: of("NetworkPolicy")(d)["spec"].update(ingres=[]),
            r"NetworkPolicy: .*'ingres' was unexpected",
        ),
        (
            lambda d: of("PriorityClass")(d).update(value="high"),
            r"PriorityClass: value: 'high' is not of type 'integer'",
        ),
    ],
)
def test_a_field_that_is_misspelt_or_of_the_wrong_type_is_found(spoil, fault, definitions):
    documents = rendered("runs/gpu8-train")
    spoil(documents)
    found = schemas.faults(documents, definitions)
    assert any(re.search(fault, one) for one in found), found


def test_a_folder_that_misses_a_file_is_not_rendered(tmp_path):
    copy = shutil.copytree(KUBERAY, tmp_path / "kuberay")
    (copy / "base/stop_jobs.py").unlink()
    with pytest.raises(AssertionError, match=r"stop_jobs\.py"):
        rendered(copy / "runs/gpu8-train")


def test_without_kubectl_tests_are_skipped_and_say_so(monkeypatch):
    monkeypatch.delenv("RETDM_KUBECTL", raising=False)
    monkeypatch.setenv("PATH", "")
    with pytest.raises(pytest.skip.Exception, match="no kubectl to render the manifests with"):
        rendered("runs/gpu8-train")
