"""cluster/iam/storage.json allows what retdm and Ray ask of S3, and no more.

The requests are those that a real S3 server got: of a run on Ray, whose own files Arrow writes,
and of every call of the storage layer.
"""

from urllib.parse import parse_qs, urlsplit

import pytest

from retdm.errors import StorageError
from retdm.storage import open_store
from retdm.storage.s3_parts import UPLOAD_BYTES
from tests.cluster.policies import actions, statements
from tests.system.test_coco_to_result import _train, shards

__all__ = ["shards"]


def _action(request):
    """What S3 looks for in a policy: of an operation by method, query and whether it has a key.

    From Amazon's table "Actions, resources, and condition keys for Amazon S3".
    """
    method, _, target = request.partition(" ")
    parts = urlsplit(target)
    query = parse_qs(parts.query, keep_blank_values=True)
    has_key = len(parts.path.strip("/").split("/")) > 1
    marks = {"uploads", "uploadId", "delete", "location", "acl", "tagging"} & set(query)
    known = {
        ("GET", True, ()): "s3:GetObject",
        ("HEAD", True, ()): "s3:GetObject",
        ("PUT", True, ()): "s3:PutObject",
        ("DELETE", True, ()): "s3:DeleteObject",
        ("POST", True, ("uploads",)): "s3:PutObject",
        ("PUT", True, ("uploadId",)): "s3:PutObject",
        ("POST", True, ("uploadId",)): "s3:PutObject",
        ("DELETE", True, ("uploadId",)): "s3:AbortMultipartUpload",
        ("GET", False, ()): "s3:ListBucket",
        ("HEAD", False, ()): "s3:ListBucket",
        ("POST", False, ("delete",)): "s3:DeleteObject",
    }
    return known[method, has_key, tuple(sorted(marks))]


def _every_call(url, tmp_path, faults):
    store, file = open_store(url), tmp_path / "file"
    store.write("small", b"x")
    store.write("large", bytes(UPLOAD_BYTES + 1))
    store.read("small")
    store.read_range("small", 0, 1)
    store.download("large", file)
    store.names()
    store.size("absent")
    store.delete("small")
    faults.inject("500", where="PUT .*partNumber")  # an upload that is given up
    with pytest.raises(StorageError):
        store.write("large", bytes(UPLOAD_BYTES + 1))


@pytest.mark.slow
@pytest.mark.cluster
@pytest.mark.timeout(900)
def test_the_policy_has_exactly_the_actions_that_are_needed(
    s3, shards, faults, tmp_path, monkeypatch
):
    _train(shards, s3.url("runs"))
    asked = {_action(request) for request in faults.requests}
    assert asked == {"s3:ListBucket", "s3:GetObject", "s3:PutObject", "s3:DeleteObject"}
    monkeypatch.setenv("RETDM_S3_PATIENCE_S", "1")
    _every_call(s3.url("calls"), tmp_path, faults)
    assert {_action(request) for request in faults.requests} == actions("storage")


def test_each_statement_is_about_one_bucket_and_names_its_actions():
    for statement in statements("storage"):
        assert statement["Effect"] == "Allow"
        tail = "" if statement["Action"] == ["s3:ListBucket"] else "/*"
        assert statement["Resource"] == f"arn:aws:s3:::BUCKET{tail}"
        assert not [action for action in statement["Action"] if "*" in action]


@pytest.mark.parametrize(
    ("request_line", "action"),
    [
        ("GET /b?list-type=2&prefix=a%2F", "s3:ListBucket"),
        ("HEAD /b/", "s3:ListBucket"),
        ("GET /b/a/k", "s3:GetObject"),
        ("PUT /b/k?partNumber=1&uploadId=2", "s3:PutObject"),
        ("POST /b/k?uploads", "s3:PutObject"),
        ("DELETE /b/k?uploadId=2", "s3:AbortMultipartUpload"),
        ("POST /b?delete", "s3:DeleteObject"),
    ],
)
def test_requests_are_told_apart(request_line, action):
    assert _action(request_line) == action


def test_a_request_that_no_policy_is_known_for_is_an_error():
    with pytest.raises(KeyError):
        _action("GET /b?location")
