"""What the checks of queues find."""

import pytest

from tests.cluster import admission
from tests.cluster.spoiling import (
    GROUP,
    RAY,
    assert_found,
    label,
    of,
    of_job,
    put,
)

CASES = [
    (
        "gpu8-kueue-train",
        admission.queues_that_cannot_be,
        put("enableInTreeAutoscaling", True),
        "retdm-train: kueue.x-k8s.io/queue-name and enableInTreeAutoscaling",
    ),
    (
        "gpu8-kueue-train",
        admission.queues_that_cannot_be,
        label(admission.VOLCANO, "retdm"),
        "kueue.x-k8s.io/queue-name and volcano.sh/queue-name",
    ),
    (
        "gpu8-kueue-train",
        admission.queues_that_cannot_be,
        put("spec.shutdownAfterJobFinishes", False, of_job),
        "Kueue's quota would never be free",
    ),
    (
        "gpu8-train",
        admission.sizes_that_are_not_fixed,
        put(f"{GROUP}.maxReplicas", 4),
        "group gpu: 1 to 4 pods, 1 wanted, and no autoscaler",
    ),
    (
        "gpu8-train",
        admission.sizes_out_of_range,
        put(f"{GROUP}.replicas", 5),
        "5 pods are not within 1 to 1",
    ),
    (
        "gpu8-train",
        admission.ranks_that_displace,
        put("preemptionPolicy", "PreemptLowerPriority", of("PriorityClass")),
        "PriorityClass retdm-training: ends pods",
    ),
    (
        "gpu8-train",
        admission.ranks_that_displace,
        lambda documents: of("PriorityClass")(documents).pop("preemptionPolicy"),
        "PriorityClass retdm-training: ends pods",
    ),
    (
        "gpu8-kueue-train",
        admission.quotas_too_small,
        put(f"{GROUP}.replicas", 2),
        "queue retdm: 16 of nvidia.com/gpu do not fit",
    ),
    (
        "gpu8-volcano-train",
        admission.quotas_too_small,
        put(f"{GROUP}.replicas", 2),
        "queue retdm: 16 of nvidia.com/gpu do not fit",
    ),
    (
        "gpu8-kueue-train",
        admission.quotas_too_small,
        label(admission.KUEUE, "retbm"),
        "queue retbm does not exist",
    ),
    (
        "gpu8-kueue-train",
        admission.quotas_too_small,
        put(f"{RAY}.resources.requests", {"cpu": "1", "vpc.amazonaws.com/efa": "4"}),
        "queue retdm: 4 of vpc.amazonaws.com/efa do not fit",
    ),
]


@pytest.mark.parametrize(("run", "check", "spoil", "fault"), CASES)
def test_a_fault_is_found(run, check, spoil, fault):
    assert_found(run, check, spoil, fault)


def test_every_check_is_shown_a_fault():
    assert {check for _, check, _, _ in CASES} == set(admission.CHECKS)
