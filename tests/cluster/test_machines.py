"""What the checks of pods find: versions, room, probes, time to leave."""

import pytest

from tests.cluster import leaving, machines, room
from tests.cluster.spoiling import (
    GROUP,
    HEAD,
    HEAD_POD,
    POD,
    RAY,
    TRAIN,
    assert_found,
    entrypoint,
    of_job,
    put,
)

CASES = [
    (
        "gpu8-train",
        machines.wrong_versions,
        put("rayVersion", "2.59.0"),
        r"rayVersion is 2\.59\.0, .* has 2\.60",
    ),
    (
        "gpu8-train",
        machines.wrong_versions,
        put(f"{RAY}.image", "r/retdm:latest"),
        r"gpu: image r/retdm:latest",
    ),
    (
        "gpu8-train",
        machines.wrong_versions,
        put("spec.submitterPodTemplate.spec.containers.0.image", "rayproject/ray:2.60.0", of_job),
        r"submitter: image rayproject/ray",
    ),
    (
        "gpu8-train",
        machines.unequal_resources,
        put(f"{RAY}.resources.requests", {"nvidia.com/gpu": "4", "memory": "512Gi"}),
        r"gpu, ray-worker: nvidia\.com/gpu limits and requests differ",
    ),
    (
        "gpu8-train",
        machines.head_that_works,
        put(f"{HEAD}.rayStartParams", {}),
        "num-cpus is not 0",
    ),
    (
        "gpu8-train",
        machines.head_that_works,
        put(f"{HEAD_POD}.affinity", {}),
        "placed on a spot node",
    ),
    (
        "gpu8-train",
        machines.head_that_works,
        put(f"{HEAD_POD}.tolerations", [{"key": "nvidia.com/gpu", "operator": "Exists"}]),
        "may take a GPU node",
    ),
    (
        "gpu8-train",
        machines.workers_without_place,
        put(f"{POD}.tolerations", []),
        r"tolerations \[\] do not",
    ),
    (
        "gpu8-train",
        room.small_shared_memory,
        put(f"{POD}.volumes.0.emptyDir.sizeLimit", "4Gi"),
        r"gpu: /dev/shm has 4\.29e\+09 bytes, 5\.07e\+09 are needed",
    ),
    (
        "gpu8-train",
        room.small_shared_memory,
        put(f"{POD}.volumes.0.emptyDir", {"sizeLimit": "16Gi"}),
        "no memory volume at /dev/shm",
    ),
    ("gpu8-train", room.small_shared_memory, put(f"{GROUP}.rayStartParams", {}), "are needed"),
    (
        "gpu8-train",
        room.small_shared_memory,
        entrypoint(TRAIN + "--workers 8 --set data.cache_dir=/cache --set data.image_size=1200"),
        "are needed",
    ),
    (
        "gpu8-train",
        room.small_shared_memory,
        put(f"{POD}.volumes.0.emptyDir.sizeLimit", "400Gi"),
        "more than half of the memory",
    ),
    (
        "gpu8-train",
        room.small_cache,
        put(f"{POD}.volumes.1.emptyDir.sizeLimit", "50Gi"),
        r"the volume has 5\.37e\+10 bytes, data\.cache_bytes \(default 53687091200\)",
    ),
    ("gpu8-train", room.small_cache, entrypoint(TRAIN), "data.cache_dir='' is on no volume"),
    (
        "gpu8-train",
        room.small_cache,
        put(f"{RAY}.resources.limits.ephemeral-storage", "60Gi"),
        "has no room for the cache",
    ),
    (
        "gpu8-train",
        machines.missing_probes,
        put(f"{RAY}.livenessProbe", {}),
        "livenessProbe does not ask",
    ),
    (
        "gpu8-train",
        machines.missing_probes,
        put(f"{HEAD_POD}.containers.0.readinessProbe.httpGet.port", 6379),
        "ray-head: readinessProbe does not ask",
    ),
    (
        "gpu8-train",
        machines.missing_probes,
        put(f"{RAY}.livenessProbe.failureThreshold", 3),
        "killed as soon as it is not ready",
    ),
    (
        "gpu8-train",
        machines.restarted_under_the_autoscaler,
        put("enableInTreeAutoscaling", True),
        "version is not v2",
    ),
    (
        "spot-elastic-train",
        machines.restarted_under_the_autoscaler,
        put(f"{POD}.restartPolicy", "Always"),
        "group spot: restartPolicy is not Never",
    ),
    (
        "gpu8-train",
        leaving.short_grace,
        put(f"{POD}.terminationGracePeriodSeconds", 160),
        "gpu: killed after 160 s, and leaving may take 150",
    ),
    ("gpu8-train", leaving.short_grace, put(f"{RAY}.env", []), r"gpu: 30 s for a checkpoint"),
    (
        "gpu8-train",
        leaving.short_grace,
        put(f"{HEAD_POD}.containers.0.env", []),
        r"head: 3 s for a checkpoint that takes 42 s",
    ),
    (
        "gpu8-train",
        leaving.short_grace,
        put(f"{HEAD_POD}.containers.0.env.0.value", "150"),
        "head: ends before a job is killed, after 150 s",
    ),
    (
        "gpu8-train",
        leaving.short_grace,
        put(f"{HEAD_POD}.containers.0.lifecycle", {}),
        "head: preStop None does not stop the jobs",
    ),
    (
        "gpu8-train",
        leaving.short_grace,
        put(f"{HEAD_POD}.containers.0.volumeMounts", []),
        r"head: stop_jobs\.py is not mounted",
    ),
]


@pytest.mark.parametrize(("run", "check", "spoil", "fault"), CASES)
def test_a_fault_is_found(run, check, spoil, fault):
    assert_found(run, check, spoil, fault)


def test_every_check_is_shown_a_fault():
    assert {check for _, check, _, _ in CASES} == {*machines.CHECKS, *room.CHECKS, *leaving.CHECKS}
