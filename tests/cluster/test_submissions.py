"""What the checks of jobs find: commands, and workers that the cluster does not fit."""

import pytest

from tests.cluster import submissions
from tests.cluster.spoiling import (
    GROUP,
    HEAD_POD,
    POD,
    TRAIN,
    assert_found,
    entrypoint,
    of,
    of_job,
    put,
)

CASES = [
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint(TRAIN + "--worker 8 --runname x"),
        "unrecognized",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint(TRAIN + "--workers 8-16"),
        "a range MIN:MAX",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint(TRAIN + "--set bank.sise=3"),
        r"unknown setting bank\.sise; did you mean bank\.size\?",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint("python jobs/train.py jobs/recipes/coco.toml --set data.url=s3://a/b"),
        "no such file",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint("python jobs/train.py jobs/recipes/scene.toml"),
        "data.url is empty",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint(TRAIN + "--set stages.*.epochs=1 && echo done"),
        r"& \* in .* is read by the submitter's shell",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint("python train.py"),
        "starts none of our programs",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint("python jobs/tune.py jobs/recipes/demo.toml --set data.url=s3://a/b"),
        "says nothing of what to search",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint(
            "python jobs/compare.py jobs/recipes/scene.toml --set data.url=s3://a/b --methods bcf"
        ),
        "method = 'bcf' is not known",
    ),
    (
        "gpu8-train",
        submissions.refused_commands,
        entrypoint("python -m retdm.shard build shards/coco2014.toml --to s3://a/b"),
        "required: --source, --out",
    ),
    (
        "shard",
        submissions.refused_commands,
        put(f"{POD}.initContainers.0.command.3", "get"),
        "invalid choice: 'get'",
    ),
    (
        "gpu8-train",
        submissions.folders_of_one_pod,
        entrypoint(TRAIN + "--storage /tmp/runs"),
        "/tmp/runs is no place",
    ),
    (
        "gpu8-train",
        submissions.folders_of_one_pod,
        put("data.RETDM_STORAGE", "/runs", of("ConfigMap", "retdm-settings")),
        "/runs is no place",
    ),
    (
        "gpu8-train",
        submissions.gpus_left_to_chance,
        entrypoint(TRAIN + "--workers 8"),
        "run.gpus=auto on a cluster with GPUs",
    ),
    (
        "dev-train",
        submissions.gpus_left_to_chance,
        entrypoint(TRAIN + "--workers 2 --set run.gpus=required"),
        "run.gpus=required on a cluster without GPUs",
    ),
    (
        "gpu8-train",
        submissions.workers_that_do_not_fit,
        entrypoint(TRAIN + "--workers 16 --set run.cpus_per_worker=10"),
        "16 workers at once, the cluster has room for 8",
    ),
    (
        "gpu8-train",
        submissions.workers_that_do_not_fit,
        entrypoint(TRAIN + "--workers 8 --set run.cpus_per_worker=20"),
        "cores are too few for 8 workers",
    ),
    (
        "gpu8-train",
        submissions.workers_that_do_not_fit,
        entrypoint(
            "python jobs/tune.py jobs/recipes/scene.toml --set data.url=s3://a/b --workers 4 "
            "--concurrency 3"
        ),
        "12 workers at once, the cluster has room for 8",
    ),
    (
        "gpu8-train",
        submissions.ranges_that_differ,
        entrypoint(TRAIN + "--workers 4:8 --set run.cpus_per_worker=10"),
        "--workers 4:8, but enableInTreeAutoscaling is False",
    ),
    (
        "gpu8-train",
        submissions.ranges_that_differ,
        put(f"{GROUP}.replicas", 0),
        "0 workers at the beginning",
    ),
    (
        "spot-elastic-train",
        submissions.ranges_that_differ,
        put(f"{GROUP}.maxReplicas", 5),
        "maxReplicas make 20 workers, --workers says 16",
    ),
    (
        "spot-elastic-train",
        submissions.ranges_that_differ,
        put(f"{GROUP}.minReplicas", 2),
        "minReplicas make 8 workers, --workers says 4",
    ),
    (
        "shard",
        submissions.drivers_without_place,
        put("spec.entrypointNumCpus", 32, of_job),
        "entrypointNumCpus is 32, no pod has more than 16",
    ),
    (
        "shard",
        submissions.drivers_without_place,
        put("spec.entrypointNumCpus", 1, of_job),
        "--workers 16 beside entrypointNumCpus 1",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.shutdownAfterJobFinishes", False, of_job),
        "retdm-train: the cluster stays",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("metadata.name", "r" * 48, of_job),
        "at most 47 small letters",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.suspend", True, of_job),
        "suspend would",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.submissionMode", "HTTPMode", of_job),
        "network policy knows",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.submitterPodTemplate.metadata", {}, of_job),
        "does not let the submitter in",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.backoffLimit", -1, of_job),
        "is negative",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.clusterSelector", {"ray.io/cluster": "retdm"}, of_job),
        "clusterSelector beside",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put("spec.runtimeEnvYAML", "- pip", of_job),
        "runtimeEnvYAML is no mapping",
    ),
    (
        "gpu8-train",
        submissions.refused_by_the_operator,
        put(
            f"{HEAD_POD}.containers.0.env.-", {"name": "RAY_REDIS_ADDRESS", "value": "redis:6379"}
        ),
        "RAY_REDIS_ADDRESS belongs into",
    ),
]


@pytest.mark.parametrize(("run", "check", "spoil", "fault"), CASES)
def test_a_fault_is_found(run, check, spoil, fault):
    assert_found(run, check, spoil, fault)


def test_every_check_is_shown_a_fault():
    assert {check for _, check, _, _ in CASES} == set(submissions.CHECKS)
