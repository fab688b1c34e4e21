"""What the manifests say fits together: cluster, job, our command line and settings."""

import pytest

from tests.cluster import access, admission, leaving, machines, room, submissions
from tests.cluster.manifests import CLUSTERS, rendered

PARTS = (machines, room, leaving, submissions, access, admission)
CHECKS = [check for part in PARTS for check in part.CHECKS]


@pytest.mark.parametrize("target", CLUSTERS)
def test_no_check_finds_a_fault(target):
    documents = rendered(target)
    assert {check.__name__: found for check in CHECKS if (found := check(documents))} == {}
